#!/usr/bin/env bash
# Lowering the percentage in the middle of a gradual rollout takes all of it from the old revision.
#
# Version:   knative.dev/serving v0.51.0 (Knative 1.24): the steps of rollout-duration, as the
#            route's controller calls them.
# Input:     a Service with `latestRevision: true` at 100% and a rollout-duration of ten minutes. v2
#            is rolled out after v1. Three minutes later the entry is lowered to 70, 50 and 30; the
#            rest goes to a revision that is named.
# Expected:  both revisions of the entry are lowered, in proportion or the new one first: the person
#            who lowers it wants less of what is new.
# Seen:      v1 gives all of the difference, and v2, the new one, keeps its whole share.
# Why it matters: lowering the number is what one does when v2 is seen failing. What stops it is to
#            name the revision that shall have the traffic (revisionName), not a smaller percentage.
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
module rollout

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
	"context"
	"fmt"
	"time"

	"knative.dev/serving/pkg/reconciler/route/traffic"
)

const duration = 10 * time.Minute

func main() {
	ctx := context.Background()
	now := time.Unix(1_800_000_000, 0)
	state := asked("v1", 100)
	show("v1 runs", state)

	state, _ = asked("v2", 100).Step(ctx, state, now.UnixNano())
	show("v2 is made", state)
	now = now.Add(5 * time.Second)
	state.ObserveReady(ctx, now.UnixNano(), duration.Seconds())
	for range 30 {
		now = now.Add(6 * time.Second)
		state, _ = asked("v2", 100).Step(ctx, state, now.UnixNano())
	}
	show("three minutes later", state)

	for _, percent := range []int{70, 50, 30} {
		now = now.Add(time.Second)
		state, _ = asked("v2", percent).Step(ctx, state, now.UnixNano())
		show(fmt.Sprintf("lowered to %d", percent), state)
	}
}

// asked is what the traffic list asks for: all of the entry's percent for the latest revision.
func asked(latest string, percent int) *traffic.Rollout {
	return &traffic.Rollout{Configurations: []*traffic.ConfigurationRollout{{
		ConfigurationName: "shop",
		Percent:           percent,
		Revisions:         []traffic.RevisionRollout{{RevisionName: latest, Percent: percent}},
	}}}
}

func show(when string, state *traffic.Rollout) {
	fmt.Printf("%s:", when)
	for _, revision := range state.Configurations[0].Revisions {
		fmt.Printf(" %s %d%%", revision.RevisionName, revision.Percent)
	}
	fmt.Println()
}
GO
}

show_shares() {
  GOFLAGS=-mod=mod go run . >seen.txt 2>go.log || fail "$(<go.log)"
  cat seen.txt
}

# expect LINE fails unless the output has the line.
expect() {
  grep -qxF "$1" seen.txt || fail "This is no longer so: $1"
}

check_shares() {
  expect 'three minutes later: v1 84% v2 16%'
  expect 'lowered to 70: v1 54% v2 16%'
  expect 'lowered to 50: v1 34% v2 16%'
  expect 'lowered to 30: v1 14% v2 16%'
}

main() {
  make_folder
  write_program
  show_shares
  check_shares
}

main "$@"
