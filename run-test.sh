#!/usr/bin/env bash
[ -n "${BASH_VERSION:-}" ] || { echo "run-test.sh needs bash: bash run-test.sh" >&2; exit 2; }
set -euo pipefail

usage() {
  cat <<'END'
Sends requests through the ingress gateway and shows which revisions answer.
usage: run-test.sh [OPTIONS] [N] [-- CURL-OPTIONS...]

Prints one answer, or sends N requests, each on a new connection, and shows each
revision's share. Exits with 0 if no request failed and the shares fit the route's
percentages, with 1 if not or if it cannot tell, and with 2 if it could not try.
  --requests N or N      requests to send, up to 99999 (1)
  --path PATH            path to ask (/)
  --tag TAG              ask at the address of this tag
  --rate R               requests per second at most
  --parallel P           requests at the same time (2, and more of many: up to 8)
  --timeout S            seconds to wait for an answer (30)
  --within S             seconds after which an answer is late, unless it woke its revision
  --wait S               seconds to wait for the Service to become Ready (60)
  --expect v1=40,v2=60   percentages to expect where no cluster is asked
  --revision-header H    header by which an answer names its revision (X-Revision)
  --allow PERCENT        failures that this percentage explains pass (0)
  --failures-of NAME     failures that name another revision are told and do not count
  --fail-fast            end as soon as the failures decide
  --enough               send more than N where a percentage needs more to be seen
  --context NAME         kubectl's context
What stands behind -- goes to curl, as --header @file or --data @file. Variables:
  SVC_NAME, NAMESPACE     the Knative Service (stock-service-example, default)
  INGRESSGATEWAY, INGRESS_NAMESPACE  the gateway's Service (istio-ingressgateway, istio-system)
  GATEWAY, DOMAIN_NAME    the gateway's [scheme://]host[:port], the route's host; with both no cluster is asked
END
}

say() { printf 'run-test.sh: %s\n' "$*" >&2 || true; }
die() { say "$@"; exit 2; }

# read_options sets a variable for each option, and refuses what cannot be meant.
read_options() {
  requests='' path=/ tag='' rate='' parallel='' timeout=30 within='' wait=60 expect='' revision_header=X-Revision
  allow=0 failures_of='' fail_fast='' enough='' context='' curl_options=()
  local name pattern what seconds='0\.[0-9]*[1-9]|[1-9][0-9]{0,4}(\.[0-9]+)?' percent='(100|[1-9]?[0-9])'
  while (($#)); do
    case $1 in
      -h | --help) usage; exit ;;
      --) curl_options=("${@:2}"); break ;;
      --fail-fast) fail_fast=0.2; shift; continue ;;
      --enough) enough=yes; shift; continue ;;
      --requests | --rate) pattern='[1-9][0-9]{0,4}' what="a whole number from 1 to 99999" ;;
      --path) pattern='/[^][{}[:space:]]*' what="a path that begins with / and has no spaces, brackets or braces" ;;
      --parallel) pattern='[1-9][0-9]?|1[0-9][0-9]|200' what="a whole number from 1 to 200" ;;
      --timeout | --within) pattern=$seconds what="a number of seconds, as 30 or 0.5" ;;
      --wait) pattern='0|[1-9][0-9]{0,3}' what="a number of seconds, as 60" ;;
      --expect) pattern="[^=, ]+=$percent(,[^=, ]+=$percent)*" what="a list as v1=40,v2=60" ;;
      --allow) pattern="$percent|[1-9]?[0-9]\.[0-9]+" what="a percentage, as 1 or 0.1" ;;
      --tag | --revision-header | --failures-of | --context) pattern='[^ ]+' what="a name" ;;
      -*) die "there is no option $1: see --help" ;;
      *) set -- --requests "$@"; continue ;;
    esac
    [[ ${2:-} =~ ^($pattern)$ ]] || die "$1 is $what, not \"${2:-}\": see --help"
    [[ $1 != --requests || -z $requests ]] || die "the number of requests is $requests, and then $2: see --help"
    name=${1#--}
    printf -v "${name//-/_}" %s "$2"
    shift 2
  done
  requests=${requests:-1}
}

# prepare makes the folder tmp, which goes in the end, however it ends.
prepare() {
  hash awk curl 2>/dev/null || die "install awk and curl 7.75 or newer"
  trap '((BASH_SUBSHELL)) || finish' EXIT # a subshell inherits it
  trap 'stop 129' HUP && trap 'stop 130' INT && trap 'stop 131' QUIT && trap 'stop 143' TERM
  tmp=$(mktemp -d "${TMPDIR:-/tmp}/run-test.XXXXXX") || die "cannot make a folder there: set TMPDIR to another"
}
stop() { trap '' HUP INT QUIT TERM && exit "$1"; } # a second signal would end what the first one starts
finish() {
  trap '' HUP INT QUIT TERM && end_jobs
  if [[ -n $sending ]]; then { collect && tally interrupted; } || true; fi
  rm -rf "$tmp"
}
end_jobs() { { rm "$tmp/watching"; for job in $(jobs -rp); do kill "$job"; done; wait; } 2>/dev/null || true; }

# send starts curls that share the requests, by a fragment that only counts. A line with the mark ends each answer.
send() {
  local i body=/dev/null
  if ((requests == 1)); then body=$tmp/body; else printf '%s\n\n' "$requests requests to $url$path through $GATEWAY"; fi
  sending=yes mark="answer $RANDOM$RANDOM"
  for ((i = 0; i < parallel; i++)); do
    if ((i && gap)); then sleep "$(printf '0.%03d' "$gap")"; fi
    curl --disable ${curl_options[@]+"${curl_options[@]}"} --silent --noproxy '*' --connect-to "::$GATEWAY" --http1.1 \
      --header 'Connection: close' --retry 0 --connect-timeout 3 --max-time "$timeout" --output "$body" --dump-header - \
      --write-out "%{stderr}\n$mark|%{exitcode}|%{http_code}|%{time_connect}|%{time_total}|%{errormsg}|.\n" \
      "$url$path#[1-$(((requests + i) / parallel))]" >"$tmp/curl.$i" 2>&1 &
    curls+=($!)
    echo "curl|$i|0|$((i * gap))" >>"$tmp/answers"
  done
}

# collect adds to tmp/answers what the curls have written since the last time.
collect() {
  local kind i bytes
  while IFS='|' read -r kind i bytes _; do
    if [[ $kind == curl ]]; then
      echo "$mark curl|$i"
      tail -c "+$((bytes + 1))" "$tmp/curl.$i"
      echo
    fi
  done <"$tmp/answers" >"$tmp/news"
  LC_ALL=C awk -v mark="$mark" -v header="$revision_header" -v prefix="$prefix" -v timeout="$timeout" \
    -v within="$within" -v gap="$((gap * parallel))" -v alone="$((requests == 1))" -v changed="${1:-}" \
    -f "$scripts/answers.awk" "$tmp/answers" "$tmp/news" >"$tmp/next" && mv "$tmp/next" "$tmp/answers"
}

# tally prints what all this amounts to. It is asked for "enough", a "table", or in the end how the requests ended.
tally() {
  LC_ALL=C awk -v want="$1" -v requests="$requests" -v failures_of="$failures_of" -v allow="$allow" \
    -v cluster="$cluster" -v header="$revision_header" -v within="$within" -v advice="$advice" \
    -v lines="$lines" -v columns="$columns" -f "$scripts/tally.awk" "$tmp/expected" "$tmp/answers"
}

# watch waits for the curls. Meanwhile it counts, draws the table on a terminal, and sees edits of the Service.
watch() {
  if ((requests > 1)); then every "${fail_fast:-1}" refresh 2>/dev/null & fi
  if ((requests > 1)) && [[ -n $cluster ]]; then every 1 follow 2>/dev/null & fi
  wait "${curls[@]}" 2>/dev/null || true
  end_jobs
}
every() {
  trap '' HUP INT QUIT && trap 'kill $!; exit' TERM # at Ctrl-C it is the script that ends it, and TERM may be ignored
  while [[ -f $tmp/watching ]]; do sleep "$1" & wait $!; "${@:2}" || true; done
}

# refresh counts, draws the table, and ends the curls when nothing answers or the failures decide.
refresh() {
  if [[ -f $tmp/changed ]]; then collect changed && mv "$tmp/changed" "$tmp/expected"; else collect; fi
  IFS='|' read -r _ silent _ <"$tmp/answers"
  if ((silent >= 5)); then kill "${curls[@]}"; fi
  if tally table || [[ -z $fail_fast ]]; then return; fi
  : >"$tmp/decided" && kill "${curls[@]}"
}

# report judges by all that was answered.
report() {
  local ended='gave up' words
  collect
  if [[ -f $tmp/decided ]]; then ended=stopped; elif [[ -n $cluster ]]; then confirm; fi
  sending=''
  if words=$(grep '^curl: [^/]' "$tmp/curl.0"); then die "${words%%$'\n'*} (curl 7.75 is needed, and 7.84 for --rate)"; fi
  if [[ -f $tmp/body ]]; then cat "$tmp/body"; fi
  tally "$ended" | cat # which fails if it cannot print
}

# plan finds how many requests to send, and how many at the same time.
plan() {
  echo "silent|0" >"$tmp/answers" && : >"$tmp/watching"
  if [[ -n $enough ]]; then enough=$(tally enough) && requests=$((enough > requests ? enough : requests)); fi
  parallel=${parallel:-$((requests < 1500 ? 2 + requests / 250 : 8))}
  if ((parallel > requests)); then parallel=$requests; fi
  if ((parallel > ${rate:-parallel})); then parallel=$rate; fi
  if [[ -n $rate ]]; then curl_options+=(--rate "$((rate * 3600 / parallel))/h") gap=$((1000 / rate)); fi
  if [[ -t 1 && ${TERM:-dumb} != dumb ]]; then read -r lines columns <<<"$(stty size 2>&- </dev/tty || echo 0 0)"; fi
}

main() {
  : "${SVC_NAME:=stock-service-example}" "${NAMESPACE:=default}" "${GATEWAY:=}" "${DOMAIN_NAME:=}"
  tmp='' cluster='' prefix='' sending='' gap=0 lines=0 columns=0 curls=()
  scripts=$(dirname "$(readlink -f "$0")")/scripts
  # shellcheck source=scripts/route.sh
  . "$scripts/route.sh"
  read_options "$@"
  prepare
  find_route
  plan
  send
  watch
  report
}

main "$@"
