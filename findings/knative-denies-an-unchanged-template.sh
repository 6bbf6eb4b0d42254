#!/usr/bin/env bash
# Knative denies the very file that it accepted before, once the platform has a default request.
#
# Version:   knative.dev/serving v0.51.0 (Knative 1.24): the defaulting and the validation of its
#            admission webhook, called as the webhook calls them, without a cluster.
# Input:     config-defaults with revision-cpu-request: 100m, and a Service with a named revision
#            that does not mention resources. It is created; then the same template is applied
#            with another traffic list.
# Expected:  the second apply is accepted, since its template is that of the first file.
# Seen:      the defaults are filled in when the name is new and not when it stays, so Knative
#            compares the filled-in template with the bare one, and denies the change of traffic:
#            "Saw the following changes without a name change". A template without a name is
#            accepted, and so is one that spells the request out.
# Why it matters: a release by files that change the percentages alone, and the way back by an older
#            file, work until the platform's owner sets a default, and fail from then on.
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
module defaults

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
	"encoding/json"
	"fmt"

	jsonpatch "github.com/evanphx/json-patch/v5"
	"knative.dev/pkg/apis"
	"knative.dev/serving/pkg/apis/config"
	v1 "knative.dev/serving/pkg/apis/serving/v1"
	"sigs.k8s.io/yaml"
)

// service has places for the template's name, its resources and the revisions of the traffic list.
const service = `
apiVersion: serving.knative.dev/v1
kind: Service
metadata: {name: shop, namespace: default}
spec:
  template:
    metadata: {%s}
    spec:
      containers:
        - name: user-container
          image: example.com/shop:v1
          readinessProbe: {httpGet: {path: /}, successThreshold: 1}
          %s
  traffic: [%s]
`

const (
	before = "{latestRevision: true, percent: 100}"
	after  = "{latestRevision: true, percent: 90}, {revisionName: shop-v0, percent: 10}"
	named  = "name: shop-v1"
	cpu    = "resources: {requests: {cpu: 100m}}"
)

func main() {
	none := map[string]string{}
	request := map[string]string{"revision-cpu-request": "100m"}
	for _, file := range []struct {
		what            string
		defaults        map[string]string
		name, resources string
	}{
		{"no default set, named template", none, named, ""},
		{"default set, named template", request, named, ""},
		{"default set, named template with the request", request, named, cpu},
		{"default set, template without a name", request, "", ""},
	} {
		created := read([]byte(fmt.Sprintf(service, file.name, file.resources, before)))
		must(admit(created, nil, file.defaults))
		stored, err := json.Marshal(created)
		must(err)
		applied := apply(stored, fmt.Sprintf(service, file.name, file.resources, after))
		if denied := admit(applied, read(stored), file.defaults); denied != nil {
			fmt.Printf("%s: denied: %v\n", file.what, denied)
		} else {
			fmt.Printf("%s: accepted\n", file.what)
		}
	}
}

// apply merges the file into what is stored, as kubectl apply does for a custom resource.
func apply(stored []byte, file string) *v1.Service {
	patch, err := yaml.YAMLToJSON([]byte(file))
	must(err)
	merged, err := jsonpatch.MergePatch(stored, patch)
	must(err)
	return read(merged)
}

// admit does what the webhook does: it fills in the defaults, then it validates.
func admit(service, before *v1.Service, settings map[string]string) error {
	defaults, err := config.NewDefaultsConfigFromMap(settings)
	must(err)
	features, err := config.NewFeaturesConfigFromMap(nil)
	must(err)
	ctx := config.ToContext(context.Background(), &config.Config{Defaults: defaults, Features: features})
	if before == nil {
		ctx = apis.WithinCreate(ctx)
	} else {
		ctx = apis.WithinUpdate(ctx, before)
	}
	service.SetDefaults(ctx)
	if denied := service.Validate(ctx).Filter(apis.ErrorLevel); denied != nil { // without the warnings
		return denied
	}
	return nil
}

func read(text []byte) *v1.Service {
	service := &v1.Service{}
	must(yaml.UnmarshalStrict(text, service))
	return service
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}
GO
}

show_verdicts() {
  GOFLAGS=-mod=mod go run . >seen.txt 2>go.log || fail "$(<go.log)"
  cat seen.txt
}

# expect PATTERN fails unless a line of the output is like it.
expect() {
  grep -qE "^$1" seen.txt || fail "This is no longer so: $1"
}

check_verdicts() {
  expect 'no default set, named template: accepted$'
  expect 'default set, named template: denied: Saw the following changes without a name change'
  expect 'default set, named template with the request: accepted$'
  expect 'default set, template without a name: accepted$'
}

main() {
  make_folder
  write_program
  show_verdicts
  check_verdicts
}

main "$@"
