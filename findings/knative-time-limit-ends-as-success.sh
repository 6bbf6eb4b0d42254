#!/usr/bin/env bash
# Knative's time limit ends a half-sent answer as a complete one, of status 200.
#
# Version:   knative.dev/serving v0.51.0 (Knative 1.24): the handler of queue-proxy and of the
#            activator that keeps timeoutSeconds.
# Input:     a program behind a limit of one second. For /silent it does not answer in time; for
#            /half it sends half of an answer, whose length it does not state, and then stops.
# Expected:  the client can tell in both cases that this is not what the program meant: by an
#            error status or, once the status is sent, by a connection that breaks off.
# Seen:      /silent is 504. /half is a complete answer of status 200, without an error for the
#            client: what was sent, then the words "request timeout", as if the program had
#            written them.
# Why it matters: a release that is judged by statuses and broken connections goes on with a
#            revision that hangs in the middle of its answers; and its clients take the half for
#            the whole. Judge durations near the limit as failures, or look into the answers.
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
module limits

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
	"net/http"
	"net/http/httptest"
	"time"

	"go.uber.org/zap"
	"knative.dev/serving/pkg/http/handler"
)

func main() {
	program := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/half" {
			io.WriteString(w, `{"prices": [10.5, 10.7, `)
		}
		<-r.Context().Done()
	})
	limits := func(*http.Request) (whole, start, idle time.Duration) { return time.Second, 0, 0 }
	server := httptest.NewServer(
		handler.NewTimeoutHandler(program, "request timeout", limits, zap.NewNop().Sugar()))
	for _, path := range []string{"/silent", "/half"} {
		response, err := http.Get(server.URL + path)
		must(err)
		body, err := io.ReadAll(response.Body)
		fmt.Printf("%s: status %d, body %q, error %v\n", path, response.StatusCode, body, err)
	}
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}
GO
}

show_answers() {
  GOFLAGS=-mod=mod go run . >seen.txt 2>go.log || fail "$(<go.log)"
  cat seen.txt
}

# expect LINE fails unless the output has the line.
expect() {
  grep -qxF "$1" seen.txt || fail "This is no longer so: $1"
}

check_answers() {
  expect '/silent: status 504, body "request timeout", error <nil>'
  expect '/half: status 200, body "{\"prices\": [10.5, 10.7, request timeout", error <nil>'
}

main() {
  make_folder
  write_program
  show_answers
  check_answers
}

main "$@"
