module github.com/knative-sample/rest-api-go

go 1.25.0
