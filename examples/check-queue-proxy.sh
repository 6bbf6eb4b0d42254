#!/usr/bin/env bash
# A check for scripts/canary.sh: of all requests that the new revision's pods have got, users' own included, at most
# ALLOW percent (1) may have failed with 5xx or taken longer than SLOW seconds (10, or 0.1, 0.5, 1, 2.5, 5).
#
#   scripts/canary.sh --pause 60 --check examples/check-queue-proxy.sh
#
# It reads the counters of queue-proxy through the API server. They are there in pods that were made after
# request-metrics-protocol: prometheus was set in Knative's config-observability. They take a request that ran into
# Knative's time limit for a 200, so the slow ones count as well.
set -euo pipefail
: "${REVISION:?is not set: scripts/canary.sh --check sets it}" "${NAMESPACE:=default}"
ask() { kubectl get ${CONTEXT:+--context "$CONTEXT"} "$@"; }

# shellcheck disable=SC2016 # these are no variables of bash
pods=$(ask pods --namespace "$NAMESPACE" --selector "serving.knative.dev/revision=$REVISION" \
  --output 'go-template={{range .items}}{{$pod := .metadata.name}}{{range .status.containerStatuses}}{{
    if and (eq .name "queue-proxy") .ready}}{{$pod}} {{end}}{{end}}{{end}}')
for pod in $pods; do
  ask --raw "/api/v1/namespaces/$NAMESPACE/pods/$pod:9091/proxy/metrics"
done | awk -v allow="${ALLOW:-1}" -v slow="${SLOW:-10}" '
  /^http_server_request_duration_seconds_count/ { all += $NF; failed += /status_code="5/ ? $NF : 0 }
  /^http_server_request_duration_seconds_bucket/ && !/status_code="5/ && index($0, "le=\"" slow "\"") { in_time += $NF }
  END {
    late = all - failed - in_time
    printf "%d of %d requests failed, %d took longer than %s s\n", failed, all, late, slow
    exit !all || (failed + late) * 100 > allow * all
  }'
