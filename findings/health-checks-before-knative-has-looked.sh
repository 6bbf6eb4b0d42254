#!/usr/bin/env bash
# What deployment tools call a Knative Service that Knative has not looked at yet, or that failed.
#
# Versions:  Argo CD v3.5.7 (its own health script for Knative's Service, run by the interpreter
#            that it uses, gopher-lua v1.1.2); kstatus of sigs.k8s.io/cli-utils v0.37.2 (kpt) and
#            of github.com/fluxcd/cli-utils v1.3.0 (Flux; Helm 4 waits with this library, too).
# Input:     Knative Services as the cluster has them: just created; edited, while the status is
#            still the one of the edit before; failed for good, since a revision cannot start.
# Expected:  no tool says that it is done before Knative has seen the edit, and each says that
#            what has failed has failed.
# Seen:      Argo CD says Healthy by the status of the generation before. kstatus says Current of a
#            Service that has no status at all, and InProgress, never Failed, where Ready is False.
# Why it matters: a job that syncs a new split, waits for health and then sends its test requests
#            judges the split of before; one that waits with kstatus is told a time-out by a release
#            that failed in its first second, and goes on at once where Knative has not begun.
set -euo pipefail

readonly ARGO_CD=github.com/argoproj/argo-cd/v3@v3.5.7
readonly GOPHER_LUA=github.com/yuin/gopher-lua@v1.1.2
readonly KSTATUS=sigs.k8s.io/cli-utils@v0.37.2
readonly FLUX_KSTATUS=github.com/fluxcd/cli-utils@v1.3.0
readonly HEALTH_SCRIPT=resource_customizations/serving.knative.dev/Service/health.lua

fail() {
  printf '%s\n' "$*" >&2
  exit 1
}

make_folder() {
  folder=$(mktemp -d)
  trap 'rm -rf "$folder"' EXIT
}

write_program() {
  cat >"$folder/main.go" <<'GO'
package main

import (
	"fmt"
	"os"

	flux "github.com/fluxcd/cli-utils/pkg/kstatus/status"
	lua "github.com/yuin/gopher-lua"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	kpt "sigs.k8s.io/cli-utils/pkg/kstatus/status"
	"sigs.k8s.io/yaml"
)

const service = `
apiVersion: serving.knative.dev/v1
kind: Service
metadata: {name: shop, namespace: default, generation: 2}
`

var states = []struct{ name, status string }{
	{"created, no status yet", ""},
	{"edited, status of the edit before", `
status:
  observedGeneration: 1
  conditions:
    - {type: ConfigurationsReady, status: "True"}
    - {type: Ready, status: "True"}
    - {type: RoutesReady, status: "True"}
`},
	{"failed, seen by Knative", `
status:
  observedGeneration: 2
  conditions:
    - {type: ConfigurationsReady, status: "False", reason: RevisionFailed}
    - {type: Ready, status: "False", reason: RevisionFailed}
    - {type: RoutesReady, status: "True"}
`},
	{"ready, seen by Knative", `
status:
  observedGeneration: 2
  conditions:
    - {type: ConfigurationsReady, status: "True"}
    - {type: Ready, status: "True"}
    - {type: RoutesReady, status: "True"}
`},
}

func main() {
	script, err := os.ReadFile(os.Args[1])
	must(err)
	for _, state := range states {
		object := &unstructured.Unstructured{}
		json, err := yaml.YAMLToJSON([]byte(service + state.status))
		must(err)
		must(object.UnmarshalJSON(json))
		ofKpt, err := kpt.Compute(object)
		must(err)
		ofFlux, err := flux.Compute(object)
		must(err)
		fmt.Printf("%s: Argo CD %s, kstatus %s, Flux's kstatus %s\n",
			state.name, argo(string(script), object.Object), ofKpt.Status, ofFlux.Status)
	}
}

// argo gives the object to the health script as Argo CD does: as the global obj.
func argo(script string, object map[string]any) string {
	state := lua.NewState()
	defer state.Close()
	state.SetGlobal("obj", toLua(state, object))
	must(state.DoString(script))
	return state.Get(-1).(*lua.LTable).RawGetString("status").String()
}

func toLua(state *lua.LState, value any) lua.LValue {
	switch value := value.(type) {
	case map[string]any:
		table := state.NewTable()
		for name, field := range value {
			table.RawSetString(name, toLua(state, field))
		}
		return table
	case []any:
		table := state.NewTable()
		for _, element := range value {
			table.Append(toLua(state, element))
		}
		return table
	case int64:
		return lua.LNumber(value)
	}
	return lua.LString(value.(string))
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}
GO
}

install_packages() {
  cd "$folder"
  export GOFLAGS=-mod=mod
  go mod init health >go.log 2>&1
  go get "$GOPHER_LUA" "$KSTATUS" "$FLUX_KSTATUS" >>go.log 2>&1 || fail "$(<go.log)"
  argo_cd=$(go mod download -json "$ARGO_CD" | sed -n 's/.*"Dir": "\(.*\)".*/\1/p')
  [[ -r $argo_cd/$HEALTH_SCRIPT ]] || fail "Argo CD no longer has $HEALTH_SCRIPT."
}

show_health() {
  go run . "$argo_cd/$HEALTH_SCRIPT" 2>>go.log >health.txt || fail "$(<go.log)"
  cat health.txt
}

# expect STATE HEALTH fails unless the line of the state is as it was seen.
expect() {
  grep -qxF "$1: $2" health.txt || fail "This changed: $1, it was: $2."
}

check_health() {
  expect "created, no status yet" "Argo CD Progressing, kstatus Current, Flux's kstatus Current"
  expect "edited, status of the edit before" "Argo CD Healthy, kstatus InProgress, Flux's kstatus InProgress"
  expect "failed, seen by Knative" "Argo CD Degraded, kstatus InProgress, Flux's kstatus InProgress"
  expect "ready, seen by Knative" "Argo CD Healthy, kstatus Current, Flux's kstatus Current"
}

main() {
  make_folder
  write_program
  install_packages
  show_health
  check_health
}

main "$@"
