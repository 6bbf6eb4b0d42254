# A mirror of the Go image can be named: --build-arg GO_IMAGE=...
ARG GO_IMAGE=golang:1.26
FROM --platform=$BUILDPLATFORM $GO_IMAGE AS build
# Set by the builder for each platform; empty means the build machine's
ARG TARGETOS TARGETARCH
WORKDIR /src
COPY . .
# HTTP/2 left out: Knative's queue-proxy speaks HTTP/1.1, and so do the quote
# providers; it would be half a megabyte
RUN --mount=type=cache,target=/root/.cache/go-build \
    CGO_ENABLED=0 GOOS=$TARGETOS GOARCH=$TARGETARCH \
    go build -trimpath -tags nethttpomithttp2 -ldflags='-s -w' -o /rest-api-go .

FROM scratch
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=build /rest-api-go /
USER 65532:65532
EXPOSE 8080
ENTRYPOINT ["/rest-api-go"]
