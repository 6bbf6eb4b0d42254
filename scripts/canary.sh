#!/usr/bin/env bash
set -feuo pipefail # -f: a * in a path is no pattern
readonly USAGE="usage: canary.sh [OPTIONS] [-- CURL-OPTIONS...]
Releases the latest revision of a Knative Service: after a preview at its tag latest, in rising percentages, as long as
run-test.sh finds nothing wrong. At the first failure that decides, or a signal, it puts the traffic of before back.

  --path PATH       a path to ask (/); more paths, each with its own --path
  --preview N       requests to each path at the tag before anything moves, 0 for none (50)
  --steps LIST      the percentages, rising ('5 25 50 100')
  --requests N      requests to each path at each step, more where its percentage needs more (300)
  --allow PERCENT   of the new revision's answers may fail (0); those that name another revision may always
  --within S        a slower answer is a failure, but for a cold start
  --pause S         seconds that each step lasts after its requests (0)
  --check COMMAND   judges each step after that, with SVC_NAME, NAMESPACE, REVISION and PERCENT set
  --put-back        puts the traffic back after a release that was cut off
  --context, --wait, --timeout, --rate, --parallel, --revision-header are those of run-test.sh, as are the variables

Exits with 0 after the last step, with 1 if a step failed, with 2 if it could not try, and before as run-test.sh does."

say() { printf 'canary.sh: %s\n' "$*" >&2 || true; } # what cannot be said must not change what is done
refuse() { say "$@"; exit 2; }

read_options() {
  local step last=0 name
  act=release check='' preview=50 steps='5 25 50 100' requests=300 pause=0 wait=60 paths=() options=() curl=()
  while (($#)); do
    case $1 in
      -h | --help) echo "$USAGE"; exit ;;
      --put-back) act=put_back && shift && continue ;;
      --) curl=("$@") && break ;;
      --path) paths+=("${2:-}") ;;
      --preview | --steps | --requests | --pause | --wait | --check | --context) printf -v "${1#--}" %s "${2:-}" ;;
      --allow | --within | --timeout | --rate | --parallel | --revision-header) options+=("$1" "${2:-}") ;;
      *) refuse "there is no option \"$1\": see --help" ;;
    esac
    [[ ${2:-} == *[![:space:]]* ]] || refuse "$1 needs a value: see --help"
    shift 2
  done
  ((${#paths[@]})) || paths=(/)
  for name in preview requests pause wait; do
    [[ ${!name} =~ ^(0|[1-9][0-9]{0,4})$ ]] || refuse "--$name is a number up to 99999, not \"${!name}\": see --help"
  done
  for step in $steps; do
    [[ $step =~ ^([1-9][0-9]?|100)$ && $step -gt $last ]] || refuse "--steps are rising whole percentages: see --help"
    last=$step
  done
  for path in "${paths[@]}"; do # run-test.sh reads its options in their order
    bash "$scripts/../run-test.sh" --path "$path" "$requests" ${options[@]+"${options[@]}"} --help >/dev/null || exit 2
  done
}

# A list of traffic has REVISION,TAG,PERCENT for each entry, with @latest for the one that follows the latest revision.
readonly KEPT=knative-sample.github.io/traffic-before-canary # annotation: the list of before, and a mark of the run
# shellcheck disable=SC2016 # these are no variables of bash
readonly FIELDS="{{with .metadata.annotations}}{{with index . \"$KEPT\"}}{{.}}{{end}}{{end}}"'
{{range .spec.traffic}}{{or .revisionName "@latest"}},{{or .tag ""}},{{or .percent 0}} {{end}}
{{range .metadata.managedFields}}{{$by := .manager}}{{range $field, $_ := index .fieldsV1 "f:spec"}}{{
  if eq $field "f:traffic"}}{{$by}} {{end}}{{end}}{{end}}
{{.metadata.resourceVersion}} {{.metadata.generation}} {{with .status}}{{or .observedGeneration 0}} {{
  or .latestCreatedRevisionName "-"}} {{or .latestReadyRevisionName "-"}}
{{range .traffic}}{{.revisionName}},{{or .tag ""}},{{or .percent 0}} {{end}}
{{range .conditions}}{{.type}}={{.status}} {{with .reason}}({{.}}) {{end}}{{end}}{{end}}'
kube() { kubectl "$@" --namespace "$NAMESPACE" ${context:+--context "$context"} --request-timeout=10s; }
look() { # reads the Service, all at once; what fails once is asked again
  local found tries=${1:-5}
  until found=$(kube get ksvc "$SVC_NAME" --output "go-template=$FIELDS"); do
    ((--tries)) || return 1
    sleep 1
  done
  { read -r kept && read -r traffic && read -r writers && read -r version generation observed created ready &&
    read -r served && read -r conditions; } <<<"$found" || true
}
is_ours() { [[ $ours == *"|$traffic|"* && ( -z $kept || $kept == "$mark" ) ]]; } # and not another canary's
# patch changes what look has found: with its version, never over what somebody else has written since.
patch() { # ANNOTATION [FIELD], as JSON; kubectl apply has printed the warnings
  error=$(trap '' HUP INT QUIT PIPE TERM # an edit on its way is not cut off
    kube patch ksvc "$SVC_NAME" --type merge --field-manager canary.sh --patch \
      "{\"metadata\": {\"resourceVersion\": \"$version\", \"annotations\": {\"$KEPT\": $1}}$2}" 2>&1 >/dev/null |
      sed '/^Warning/d') || true
}
is_refused() { [[ $error == *"(Forbidden)"* || $error == *"denied the request"* ]]; }
# move gives the Service the list $1, unless somebody else has changed the traffic. An answer can be lost while the edit
# is made: what counts is what the Service has then.
move() {
  local tries=10
  ours+="|$1|" error="kubectl cannot get the Service"
  while [[ -n $1 ]] && look && is_ours; do # in a trap, return alone would return what was before the trap
    if [[ $traffic == "$1" ]] && { [[ -n $kept ]] || is_refused; }; then return 0; fi
    if ((tries-- == 0)) || is_refused; then break; fi
    patch "\"$mark\"" ", \"spec\": {\"traffic\": [$(in_json "$1")]}"
    if [[ -n $error ]]; then sleep 0.5; fi
  done
  is_ours || error="${writers:-somebody} has changed it"
  return 1
}
in_json() {
  sed -E 's/([^ ,]+),([^ ,]*),([0-9]+)/{"revisionName": "\1", "percent": \3, "tag": "\2"}/g; s/, "tag": ""//g
    s/"revisionName": "@latest"/"latestRevision": true/g; s/} /}, /g' <<<"$1"
}
forget() { # that a release is under way
  local tries=5
  while look && [[ $kept == "$mark" ]] && ((tries--)); do patch null '' && sleep 0.2; done
  [[ $kept != "$mark" ]] || say "the annotation $KEPT is still there: $error"
}
# share makes the list in which the revisions $1 have $2 percent, or are not there at 0, and the others have the rest
# in proportion. What has neither percent nor tag is not there either: it would keep its pods, and never be collected.
share() {
  list=$(tr ' ' '\n' <<<"$before" | awk -F , -v its=" $1 " -v latest="$new" -v give="$2" -v had="$(percent_of "$1")" '
    index(its, " " ($1 == "@latest" ? latest : $1) " ") { if (give && $2 != "") printf "%s,%s,0 ", $1, $2; next }
    { given += part = int((sum += $3) * (100 - give) / (100 - had) - given) }
    part || $2 != "" { printf "%s,%s,%d ", $1, $2, part }')
  if (($2)); then list+="$1,,$2"; else list=${list% }; fi
}
percent_of() { # the revisions $1 before
  tr ' ' '\n' <<<"$before" | awk -F , -v its=" $1 " -v latest="$new" '
    index(its, " " ($1 == "@latest" ? latest : $1) " ") { sum += $3 } END { print sum + 0 }'
}
list_failed() { # what stands in the traffic of before, and has failed or is gone: with it, Knative assigns nothing
  local found
  found=$(kube get revisions --selector "serving.knative.dev/service=$SVC_NAME" --output 'go-template={{range .items}}
    {{.metadata.name}}{{with .status}}{{range .conditions}}{{if eq .type "Ready"}} {{.status}}{{end}}{{end}}{{end}}
    {{end}}' | awk -v new="$new" -v its="${before//@latest/$new}" '
    { ready[$1] = $2 }
    END { for (n = split(its, name, /,[^ ]* */); ++i < n;) if (!seen[it = name[i]]++ && (!(it in ready) ||
      ready[it] == "False" || it == new && ready[it] != "True")) { printf "%s", gap it; gap = " " } }') && failed=$found
}
# run starts a job in a process group of its own, and with the signals that finish ignores: run-test.sh needs them. Bash
# hears a signal at once only while it waits like this.
run() { set -m; (trap - HUP INT QUIT PIPE TERM && exec "$@" </dev/null) & set +m; wait $!; }
ask() { # run-test.sh for the path $1, and again where it could not try
  local tries=3 status=2
  while ((status == 2 && tries--)); do
    run bash "$scripts/../run-test.sh" ${context:+--context "$context"} --path "$1" --wait "$wait" "${@:2}" \
      ${options[@]+"${options[@]}"} ${curl[@]+"${curl[@]}"} && return 0 || status=$?
  done
  return "$status"
}
# go_back is over when the gateway has the traffic of before, as far as its revisions are there.
go_back() {
  local until=$((SECONDS + wait + 1)) failed='' outcome
  list=$before
  while ((SECONDS < until)); do
    if list_failed && [[ -n $failed && $(percent_of "$failed") != 100 ]]; then share "$failed" 0; fi
    outcome="did NOT put back the traffic of before"
    move "$list" || { is_ours && ! is_refused && sleep 0.5 && continue; } || break
    error="the Service has it, but it is not in force ($conditions)"
    if [[ "$generation ${traffic//@latest/$ready}" == "$observed $served" && " $conditions " == *" RoutesReady=True "* ]]; then
      ask "${paths[0]}" --requests 100 --enough --fail-fast --failures-of "$new" >/dev/null && forget &&
        say "the gateway has the traffic of before, set by $writers${failed:+, but for what has failed: $failed}" && return 0
      outcome="put back the traffic of before" error="but run-test.sh does not confirm it, for the reason above"
    fi
    sleep 0.5
  done
  if [[ ${kept:-$mark} == "$mark" ]]; then advise "$outcome: $error."; else say "$outcome: another canary.sh moves it now"; fi
  return 1
}
advise() {
  say "$1 The traffic is $(in_words "$traffic"), and was $(in_words "$before"). To go back: canary.sh --put-back." \
    "To keep what is: kubectl annotate ksvc $SVC_NAME --namespace $NAMESPACE${context:+ --context $context} $KEPT-"
}
in_words() { sed -E 's/([^ ,]+),([^ ,]*),([0-9]+)/\3% \1 (\2)/g; s/ \(\)//g; s/ ([0-9]+%)/, \1/g' <<<"$1"; }
finish() {
  local status=${1:-$?} job
  ((BASH_SUBSHELL == 0)) || exit 1 # a subshell that has just begun has the traps of the script
  trap '' HUP INT QUIT PIPE TERM EXIT
  for job in $(jobs -p); do kill -- "-$job" 2>/dev/null || true; done
  if [[ -n $ours ]]; then go_back || status=1; elif ((status)); then say "this run has moved no traffic"; fi
  exit "$status"
}
put_back() { # finish goes back wherever there is traffic of ours
  [[ -n $kept ]] || { say "no release was cut off: there is nothing to put back"; exit; }
  new=$ready ours="|$traffic|"
}
# prepare finds whatever is wrong before anything moves.
prepare() {
  [[ -z $kept ]] || { advise "a release was cut off, or is under way."; exit 2; }
  [[ " $traffic" == *" @latest,latest,"* ]] || refuse "no latestRevision: true has the tag latest: see pin.sh --help"
  [[ $conditions != *RolloutInProgress* ]] || say "waiting for a gradual rollout: it moves the tag latest, too"
  # Until the last edit is taken up, the latest revision is that of before. If it takes long, run-test.sh says why.
  while [[ $conditions == *RolloutInProgress* ]] || { ! is_taken_up && ((SECONDS < wait)); }; do
    run sleep 1; look || refuse "kubectl cannot get the Service $SVC_NAME"
  done
  new=$created
  list_failed || refuse "kubectl cannot get the revisions"
  for path in "${paths[@]}"; do
    ask "$path" --failures-of "$new" >/dev/null || exit
    ((preview == 0)) || ask "$path" --tag latest --requests "$preview" --fail-fast || exit
  done
  look || traffic=''
  [[ "$traffic $created $ready" == "$before $new $new" ]] || refuse "the Service is not as it was, or $new is not ready"
  has=$(percent_of "$new")
  ((has < ${steps##* })) || refuse "$new has $has% of the traffic already: apply the next revision (see pin.sh --help)"
}
is_taken_up() { [[ $generation == "$observed" && $conditions != *ConfigurationsReady=Unknown* ]]; }
release() {
  prepare
  ours="|$before|"
  for step in $steps; do
    if ((step <= has)); then continue; fi
    say "$new gets $step% of the traffic"
    share "$new" "$step"
    move "$list" || { say "cannot change the traffic: $error"; exit 1; }
    ours="|$list|"
    for path in "${paths[@]}"; do
      ask "$path" --requests "$requests" --enough --fail-fast --failures-of "$new" || exit 1
      look && is_ours || exit 1
    done
    run sleep "$pause"
    export CONTEXT=$context REVISION=$new PERCENT=$step
    [[ -z $check ]] || run bash -c "$check" || { say "--check exits with $?"; exit 1; }
    look && is_ours || exit 1
  done
  trap '' HUP INT QUIT PIPE TERM EXIT
  forget
  echo "ok: $new has $step% of the traffic" || true
}
main() {
  export SVC_NAME=${SVC_NAME:-stock-service-example} NAMESPACE=${NAMESPACE:-default}
  unset DOMAIN_NAME # with it, run-test.sh would not ask the cluster
  scripts=$(readlink -f "$0") scripts=${scripts%/*} context='' ours='' error=''
  read_options "$@"
  context=${context:-$(kubectl config current-context 2>/dev/null || true)}
  say "the Service $SVC_NAME in namespace $NAMESPACE${context:+ of context $context}"
  trap finish EXIT
  trap '' TTOU && trap 'finish 1' HUP INT QUIT PIPE TERM # jobs of their own may write to any terminal
  look 2 || refuse "kubectl cannot get the Service $SVC_NAME"
  mark=${kept:-$traffic by:$RANDOM$RANDOM$RANDOM} before=${mark% by:*}
  "$act"
}
main "$@"
