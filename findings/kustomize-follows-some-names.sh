#!/usr/bin/env bash
# Inside a Knative Service, Kustomize follows the name of a Secret in `env`, and no other name.
#
# Version:   kustomize v5.8.2.
# Input:     a Knative Service with a named revision and a traffic list, and a Deployment. Both read
#            a generated Secret and a generated ConfigMap in the same four ways. namePrefix is set.
# Expected:  what is generated or renamed has its new name wherever it is referred to.
# Seen:      1. env.valueFrom.secretKeyRef gets the generated name; env.valueFrom.configMapKeyRef,
#               envFrom and volumes keep names that nothing has. In the Deployment all follow.
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

# write_pod_spec prints the containers and volumes, indented for a template.
write_pod_spec() {
  cat <<'YAML'
    spec:
      containers:
        - name: main
          image: example.com/shop:v1
          env:
            - name: KEY
              valueFrom:
                secretKeyRef: {name: token, key: KEY}
            - name: COLOUR
              valueFrom:
                configMapKeyRef: {name: settings, key: COLOUR}
          envFrom:
            - configMapRef: {name: settings}
          volumeMounts:
            - {name: files, mountPath: /etc/shop}
      volumes:
        - name: files
          configMap: {name: settings}
YAML
}

write_files() {
  mkdir "$folder/knative" "$folder/deployment"
  cat >"$folder/knative/shop.yaml" <<YAML
apiVersion: serving.knative.dev/v1
kind: Service
metadata:
  name: shop
spec:
  template:
    metadata:
      name: shop-v1
$(write_pod_spec)
  traffic:
    - revisionName: shop-v1
      percent: 100
YAML
  cat >"$folder/deployment/shop.yaml" <<YAML
apiVersion: apps/v1
kind: Deployment
metadata:
  name: shop
spec:
  selector: {matchLabels: {app: shop}}
  template:
    metadata:
      labels: {app: shop}
$(write_pod_spec)
YAML
  tee "$folder/knative/kustomization.yaml" >"$folder/deployment/kustomization.yaml" <<'YAML'
resources: [shop.yaml]
namePrefix: staging-
secretGenerator:
  - name: token
    literals: [KEY=not-a-real-one]
configMapGenerator:
  - name: settings
    literals: [COLOUR=green]
YAML
}

# build prints of each kind the names in what Kustomize makes of it, without the generated objects.
build() {
  local kind
  for kind in knative deployment; do
    "$folder/kustomize" build "$folder/$kind" | sed '1,/^kind: Secret/d' | sed '1,/^---/d' >"$folder/$kind.yaml"
    printf '%s:\n' "$kind"
    grep -E '[nN]ame: ' "$folder/$kind.yaml"
  done
}

# expect KIND COUNT NAME fails unless the name stands so often in the result.
expect() {
  local count
  count=$(grep -cE "[nN]ame: $3\$" "$folder/$1.yaml" || true)
  [[ $count == "$2" ]] || fail "In the $1's result the name $3 stands $count times; it was $2 times."
}

check_names() {
  expect knative 1 'staging-shop'
  expect knative 2 'shop-v1'
  expect knative 1 'staging-token-[a-z0-9]+'
  expect knative 3 'settings'
  expect deployment 1 'staging-token-[a-z0-9]+'
  expect deployment 3 'staging-settings-[a-z0-9]+'
}

main() {
  make_folder
  install_kustomize
  write_files
  build
  check_names
}

main "$@"
