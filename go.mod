module rest-api-go

go 1.25.0
