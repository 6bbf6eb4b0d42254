#!/usr/bin/env bash
# Takes the latest revision from its preview to 100% of the traffic, in steps.
# usage: canary.sh
#
# The preview asks the new revision at the tag latest. Then each step gives it
# a percent, takes the rest in proportion from the revisions that have traffic,
# and lets run-test.sh judge. At the first failure, or a signal, the traffic of
# before is put back. It judges by its own requests alone: for the errors that
# your users meet, look at your metrics.
#
# Exits with 0 after the last step, with 1 if one failed, and with 2 if it could
# not try. If the preview fails, nothing moves, and it exits as the preview did.
#
#   SVC_NAME, NAMESPACE   the Knative Service (stock-service-example, default)
#   PREVIEW               requests to each path before anything moves, 0 for none (50)
#   STEPS                 percents for the new revision (5 25 50 100)
#   PATHS                 paths to ask (/ /stock/AAPL)
#   N                     requests to each path at each step (300)
#   WITHIN                seconds that an answer may take, for run-test.sh (any)
#   PAUSE                 seconds between one step and the next (0)
set -feuo pipefail # -f: a * in a path is no pattern

say() { printf 'canary.sh: %s\n' "$*" >&2; }
refuse() { say "$@"; exit 2; }
must() { [[ $2 =~ ^($3)$ ]] || refuse "$1 is $4, not \"$2\": see -h"; }

if [[ ${1:-} == -h || ${1:-} == --help ]]; then sed -n '2,/^set/s/^# \{0,1\}//p' "$0"; exit; fi
(($# == 0)) || refuse "it takes no arguments, but variables: see -h"
export SVC_NAME=${SVC_NAME:-stock-service-example} NAMESPACE=${NAMESPACE:-default} WITHIN=${WITHIN:-}
unset DOMAIN_NAME EXPECT # with these, run-test.sh would not ask the cluster
PREVIEW=${PREVIEW:-50} STEPS=${STEPS:-5 25 50 100} PATHS=${PATHS:-/ /stock/AAPL} N=${N:-300} PAUSE=${PAUSE:-0}
must STEPS "$STEPS" '([1-9][0-9]?|100)( ([1-9][0-9]?|100))*' "a list of whole percents"
must PATHS "$PATHS" '/[^ ]*( /[^ ]*)*' "a list of paths that begin with /"
must N "$N" '[1-9][0-9]{0,4}' "a number of requests"
must PAUSE "$PAUSE" '0|[1-9][0-9]{0,4}' "a number of seconds"
scripts=$(dirname "$(readlink -f "$0")")/..

# ksvc does VERB to the Service, and prints the fields at JSONPATH.
ksvc() {
  kubectl "$1" ksvc "$SVC_NAME" --namespace "$NAMESPACE" --request-timeout=10s --output "jsonpath=$2" "${@:3}"
}

# move changes the traffic from $traffic to $1, and prints it as Knative keeps
# it. It fails if somebody else has changed the traffic meanwhile.
move() {
  trap '' HUP INT QUIT PIPE TERM # an edit on its way is not cut off
  ksvc patch '{.spec.traffic}' --type json --patch "[
    {\"op\": \"test\", \"path\": \"/spec/traffic\", \"value\": $traffic},
    {\"op\": \"replace\", \"path\": \"/spec/traffic\", \"value\": $1}]"
}

# run hears a signal at once: for a command in the foreground, the shell would wait.
run() { "$@" & wait $!; }

# check sends requests to each path by one of the scripts, and fails as it does.
check() { for path in $PATHS; do run bash "$scripts/$1" --path "$path" "$2"; done; }

# share prints the traffic in which the new revision has $1 percent. Every tag
# stays on its entry. Running sums are rounded, so that all add up to 100.
share() {
  local entry revision tag percent name part sum=0 given=0
  for entry in $entries; do
    IFS=, read -r revision tag percent <<<"$entry"
    name="\"revisionName\": \"$revision\"" part=0
    if [[ -z $revision ]]; then
      name='"latestRevision": true'
    elif [[ $revision != "$new" ]]; then
      sum=$((sum + percent)) part=$((sum * (100 - $1) / (100 - has) - given)) given=$((given + part))
    elif [[ -z $tag ]]; then
      continue # its percent comes last
    fi
    printf '{%s, "percent": %s%s}, ' "$name" "$part" "${tag:+, \"tag\": \"$tag\"}"
  done
  printf '{"revisionName": "%s", "percent": %s}' "$new" "$1"
}

put_back() {
  if move "$before" >/dev/null; then
    say "put back the traffic of before"
  else
    say "did NOT put back the traffic of before: somebody else has changed it, or kubectl failed. To do so:" \
      "kubectl patch ksvc $SVC_NAME --namespace $NAMESPACE --type merge --patch '{\"spec\": {\"traffic\": $before}}'"
  fi
}

# finish ends what runs, and puts back the traffic that a step has changed.
finish() {
  local status=$?
  trap '' HUP INT QUIT PIPE TERM
  for job in $(jobs -rp); do kill "$job" || true; done
  if [[ -n $moved ]]; then traffic=$moved; fi # a signal may come in between
  if [[ $traffic != "$before" ]]; then status=1 && put_back; fi
  wait 2>/dev/null
  exit "$status"
}

service="the Service $SVC_NAME in namespace $NAMESPACE"
pin="in its traffic, name it with percent: 100, and add latestRevision: true with percent: 0 and tag: latest"
entries='{range .spec.traffic[*]}{.revisionName},{.tag},{.percent} {end}'
found=$(ksvc get "{.metadata.generation}|$entries|{.spec.traffic}") || refuse "kubectl cannot get $service"
IFS='|' read -r generation entries before <<<"$found"
traffic=$before moved=''
trap finish EXIT
trap 'trap "" HUP INT QUIT PIPE TERM; exit 1' HUP INT QUIT PIPE TERM
[[ " $entries" == *" ,latest,"* ]] || refuse "$service has no tag latest for a preview: pin what runs ($pin)"

if [[ $PREVIEW != 0 ]]; then check latest-run-test.sh "$PREVIEW"; fi

ready="{.status.observedGeneration} {.status.conditions[?(@.type=='Ready')].status}"
revisions='{.status.latestCreatedRevisionName}|{.status.latestReadyRevisionName}'
found=$(ksvc get "$ready|$revisions") || refuse "kubectl cannot get $service"
IFS='|' read -r ready latest new <<<"$found"
[[ $latest == "$new" ]] || refuse "the latest revision, $latest, is not ready: run-test.sh says why"
[[ $ready == "$generation True" ]] || refuse "$service is not Ready, or was edited meanwhile: run-test.sh says why"

has=0 # percent of the new revision
for entry in $entries; do
  IFS=, read -r revision _ percent <<<"$entry"
  if [[ -z $revision || $revision == "$new" ]]; then has=$((has + percent)); fi
done
((has < ${STEPS##* })) || refuse "$new has $has% of the traffic already: before the next revision, pin this one ($pin)"

for step in $STEPS; do
  if ((step <= has)); then continue; fi
  if [[ $traffic != "$before" ]]; then run sleep "$PAUSE"; fi
  say "$new gets $step% of the traffic"
  moved=$(move "[$(share "$step")]") || {
    say "cannot change the traffic: kubectl failed, or somebody else has changed it"
    exit 1
  }
  traffic=$moved
  check run-test.sh "$N"
done
trap '' HUP INT QUIT PIPE TERM
before=$traffic # nothing is to be put back any more
