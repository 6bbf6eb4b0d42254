#!/usr/bin/env bash
# Inside a Knative Service, Kustomize follows the name of a Secret in `env`, and no other name.
#
# Version:   kustomize v5.8.2.
# Input:     a Knative Service with a named revision and a traffic list, which reads a generated
#            Secret and a generated ConfigMap, and a kustomization with namePrefix. All of it is
#            what the tools' documentation describes; `kustomize build` says nothing against it.
# Expected:  what is generated and what is renamed is renamed wherever it is referred to, as in
#            a Deployment.
# Seen:      1. env.valueFrom.secretKeyRef gets the generated name; env.valueFrom.configMapKeyRef,
#               envFrom and volumes, in the same container, keep names that nothing has.
#            2. namePrefix renames the Service, but neither template.metadata.name nor the
#               traffic's revisionName. Knative denies the result, since a revision's name has to
#               begin with its Service's.
# Why it matters: a second stage made of the same files by a prefix, the usual way, cannot be
#            applied; and a revision whose ConfigMap is not there never becomes ready, which
#            holds back every later change of the percentages that lists it.
set -euo pipefail

readonly KUSTOMIZE=sigs.k8s.io/kustomize/kustomize/v5@v5.8.2

fail() {
  printf '%s\n' "$*" >&2
  exit 1
}

make_folder() {
  folder=$(mktemp -d)
  trap 'rm -rf "$folder"' EXIT
}

install_kustomize() {
  GOBIN=$folder go install "$KUSTOMIZE"
}

write_files() {
  cat >"$folder/service.yaml" <<'YAML'
apiVersion: serving.knative.dev/v1
kind: Service
metadata:
  name: shop
spec:
  template:
    metadata:
      name: shop-v1
    spec:
      containers:
        - image: example.com/shop:v1
          env:
            - name: KEY
              valueFrom:
                secretKeyRef: {name: token, key: KEY}
            - name: COLOUR
              valueFrom:
                configMapKeyRef: {name: settings, key: COLOUR}
          envFrom:
            - secretRef: {name: token}
            - configMapRef: {name: settings}
          volumeMounts:
            - {name: files, mountPath: /etc/shop}
      volumes:
        - name: files
          configMap: {name: settings}
  traffic:
    - revisionName: shop-v1
      percent: 100
YAML
  cat >"$folder/kustomization.yaml" <<'YAML'
resources: [service.yaml]
namePrefix: staging-
secretGenerator:
  - name: token
    literals: [KEY=not-a-real-one]
configMapGenerator:
  - name: settings
    literals: [COLOUR=green]
YAML
}

build() {
  "$folder/kustomize" build "$folder" >"$folder/built.yaml"
}

show_names() {
  printf 'every name in the result:\n'
  grep -nE '^kind|ame: ' "$folder/built.yaml"
}

# count prints how many lines of the result have the pattern.
count() {
  grep -cE "$1" "$folder/built.yaml" || true
}

check_names() {
  [[ $(count '^  name: staging-shop$') == 1 ]] || fail "namePrefix no longer renames the Service."
  [[ $(count '^      name: shop-v1$') == 1 ]] || fail "Kustomize now renames the revision in the template, or leaves it out."
  [[ $(count 'revisionName: shop-v1$') == 1 ]] || fail "Kustomize now renames the revision in the traffic list."
  [[ $(count ' name: staging-token-[a-z0-9]+$') == 2 ]] || fail "secretKeyRef is no longer the one reference to the Secret that follows."
  [[ $(count ' name: token$') == 1 ]] || fail "envFrom's reference to the Secret follows now."
  [[ $(count ' name: staging-settings-[a-z0-9]+$') == 1 ]] || fail "a reference to the ConfigMap follows now."
  [[ $(count ' name: settings$') == 3 ]] || fail "the three references to the ConfigMap are no longer as they were."
}

main() {
  make_folder
  install_kustomize
  write_files
  build
  show_names
  check_names
}

main "$@"
