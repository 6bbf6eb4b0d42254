#!/usr/bin/env bash
# Knative's proxies ask a program again that broke the connection, and nobody is told.
#
# Version:   knative.dev/serving v0.51.0 (Knative 1.24): the reverse proxy and the transport of
#            queue-proxy, made as queue-proxy makes them.
# Input:     a program that closes the connection, without a byte of an answer, at every third
#            request that it gets; 60 GETs and then 60 POSTs through the proxy, one after another.
# Expected:  the client sees every request fail at which the program broke the connection, as a 502.
# Seen:      of 60 GETs not one fails, while the program broke the connection 29 times: on a
#            connection that was used before, the transport takes the break for an idle connection
#            that was just closed, and sends the GET again. Of the POSTs 20 fail.
# Why it matters: a revision that crashes at a third of its requests looks sound to everything that
#            stands outside its pod: to the client, the gateway and the test before the next step.
#            Its restarts tell, and POSTs, and so does the program's own count of requests.
set -euo pipefail

fail() {
  printf '%s\n' "$*" >&2
  exit 1
}

make_folder() {
  folder=$(mktemp -d)
  trap 'rm -rf "$folder"' EXIT
  cd "$folder"
}

write_program() {
  cat >go.mod <<'MOD'
module proxies

go 1.26.0

require (
	knative.dev/networking v0.0.0-20260727162500-c7a7b772cac9
	knative.dev/pkg v0.0.0-20260727151759-521cb33b33dd
	knative.dev/serving v0.51.0
)

replace (
	knative.dev/networking => knative.dev/networking v0.0.0-20260727162500-c7a7b772cac9
	knative.dev/pkg => knative.dev/pkg v0.0.0-20260727151759-521cb33b33dd
)
MOD
  cat >main.go <<'GO'
package main

import (
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"

	netproxy "knative.dev/networking/pkg/http/proxy"
	"knative.dev/pkg/network"
	proxies "knative.dev/serving/pkg/http"
)

func main() {
	log.SetOutput(io.Discard) // the proxy's lines on each 502
	for _, method := range []string{http.MethodGet, http.MethodPost} {
		requests, broken := 0, 0
		program := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			requests++
			io.Copy(io.Discard, r.Body)
			if requests%3 == 0 {
				broken++
				panic(http.ErrAbortHandler) // net/http closes the connection
			}
			io.WriteString(w, "ok")
		}))
		target := strings.TrimPrefix(program.URL, "http://")
		proxy := proxies.NewHeaderPruningReverseProxy(target, proxies.NoHostOverride, nil, false)
		proxy.Transport = network.NewProxyAutoTransport(100, 100)
		proxy.FlushInterval = netproxy.FlushInterval
		server := httptest.NewServer(proxy)

		seen := map[int]int{}
		for range 60 {
			request, err := http.NewRequest(method, server.URL, strings.NewReader(""))
			must(err)
			response, err := http.DefaultClient.Do(request)
			must(err)
			_, err = io.Copy(io.Discard, response.Body)
			must(err)
			must(response.Body.Close())
			seen[response.StatusCode]++
		}
		fmt.Printf("60 %ss: the program got %d and broke the connection %d times; the client saw %d times 200, %d times 502\n",
			method, requests, broken, seen[http.StatusOK], seen[http.StatusBadGateway])
	}
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}
GO
}

show_counts() {
  GOFLAGS=-mod=mod go run . >seen.txt 2>go.log || fail "$(<go.log)"
  cat seen.txt
}

# expect LINE fails unless the output has the line.
expect() {
  grep -qxF "$1" seen.txt || fail "This is no longer so: $1"
}

check_counts() {
  expect '60 GETs: the program got 89 and broke the connection 29 times; the client saw 60 times 200, 0 times 502'
  expect '60 POSTs: the program got 60 and broke the connection 20 times; the client saw 40 times 200, 20 times 502'
}

main() {
  make_folder
  write_program
  show_counts
  check_counts
}

main "$@"
