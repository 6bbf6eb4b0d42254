#!/usr/bin/env bash
# Two load generators count an answer that breaks off in its middle as a success.
#
# Versions:  hey v0.1.5 and bombardier v1.2.6; vegeta v12.13.0 for comparison.
# Input:     a server on the loopback address that promises 100 bytes and closes the
#            connection after 50 of them, as a pod does that is killed while it answers:
#            every fourth of 40 requests.
# Expected:  a quarter of the requests is reported as failed, as vegeta does.
# Seen:      hey reports "[200] 40 responses" and no error; bombardier reports 40 of class
#            2xx and no error.
# Why it matters: whoever releases by percentages raises the share while the load generator
#            reports no failure. A revision that loses a quarter of its answers passes.
set -euo pipefail

readonly HEY=github.com/rakyll/hey@v0.1.5
readonly BOMBARDIER=github.com/codesenberg/bombardier@v1.2.6
readonly VEGETA=github.com/tsenart/vegeta/v12@v12.13.0

fail() {
  printf '%s\n' "$*" >&2
  exit 1
}

make_folder() {
  folder=$(mktemp -d)
  trap remove_folder EXIT
}

remove_folder() {
  if [[ -n ${server:-} ]]; then kill "$server" 2>/dev/null || true; fi
  rm -rf "$folder"
}

install_tools() {
  local tool
  for tool in "$HEY" "$BOMBARDIER" "$VEGETA"; do
    GOBIN=$folder go install "$tool"
  done
}

start_server() {
  cat >"$folder/server.go" <<'GO'
package main

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
)

func main() {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	if err := os.WriteFile(os.Args[1], []byte(listener.Addr().String()), 0o600); err != nil {
		panic(err)
	}
	var requests atomic.Int64
	panic(http.Serve(listener, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "100")
		if requests.Add(1)%4 != 0 {
			fmt.Fprint(w, strings.Repeat("x", 100))
			return
		}
		fmt.Fprint(w, strings.Repeat("x", 50))
		if err := http.NewResponseController(w).Flush(); err != nil {
			panic(err)
		}
		panic(http.ErrAbortHandler) // net/http closes the connection
	})))
}
GO
  go build -o "$folder/server" "$folder/server.go"
  "$folder/server" "$folder/address" &
  server=$!
  for _ in {1..50}; do
    if [[ -s $folder/address ]]; then return; fi
    sleep 0.1
  done
  fail "the server of this script did not start"
}

# send_requests sends 40 requests with each tool, one after the other. (vegeta goes by the clock:
# on a busy machine it can send one less.)
send_requests() {
  local url
  url=http://$(<"$folder/address")/
  "$folder/hey" -n 40 -c 1 "$url" | sed -n '/^Status code/,$p' | sed '/^$/d' >"$folder/hey.txt"
  "$folder/bombardier" --requests 40 --connections 1 --print result "$url" |
    sed -n '/HTTP codes/,/others/p' >"$folder/bombardier.txt"
  "$folder/vegeta" attack -rate 40 -duration 1s -max-workers 1 <<<"GET $url" |
    "$folder/vegeta" report | sed -n '/^Status Codes/,$p' >"$folder/vegeta.txt"
}

show_reports() {
  local tool
  for tool in hey bombardier vegeta; do
    printf '%s, every fourth answer cut:\n' "$tool"
    sed 's/^ */    /' "$folder/$tool.txt"
  done
}

check_reports() {
  grep -q 'unexpected EOF' "$folder/vegeta.txt" || fail "vegeta no longer reports the answers that were cut."
  grep -q '\[200\].*40 responses' "$folder/hey.txt" || fail "hey no longer counts a cut answer as 200."
  if grep -q 'Error' "$folder/hey.txt"; then fail "hey now reports an error for a cut answer."; fi
  grep -q '2xx - 40' "$folder/bombardier.txt" || fail "bombardier no longer counts a cut answer as 2xx."
}

main() {
  make_folder
  install_tools
  start_server
  send_requests
  show_reports
  check_reports
}

main "$@"
