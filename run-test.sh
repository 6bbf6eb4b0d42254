#!/usr/bin/env bash
# Sends requests through the ingress gateway and shows which revisions answer.
# usage: run-test.sh [--tag TAG] [--path PATH] [N]
#
# Prints one answer, or sends N requests, each on a new connection, and shows each
# revision's share. Exits with 0 if no request failed and the shares fit the route's
# percentages, with 1 if not or if it cannot tell, and with 2 if it could not try.
#
#   SVC_NAME, NAMESPACE                 the Knative Service (stock-service-example, default)
#   INGRESSGATEWAY, INGRESS_NAMESPACE   the gateway's Service (istio-ingressgateway, istio-system)
#   GATEWAY, DOMAIN_NAME                the gateway's [scheme://]host[:port], route's host; both: no cluster is asked
#   EXPECT                              the percentages to expect where no cluster is asked: v1=40,v2=60
#   REVISION_HEADER                     the header by which an answer names its revision (X-Revision)
#   TIMEOUT, WITHIN                     seconds to wait for an answer (30), and seconds after which it is too late
#   RATE, WAIT                          requests per second at most, and seconds for the Service to become Ready (60)
[ -n "${BASH_VERSION:-}" ] || { echo "run-test.sh needs bash: bash run-test.sh" >&2; exit 2; }
set -euo pipefail
say() { printf 'run-test.sh: %s\n' "$*" >&2; }
die() { say "$@"; exit 2; }
must() { [[ $2 =~ ^($3)$ ]] || die "$1 is $4, not \"$2\": see -h"; }

SVC_NAME=${SVC_NAME:-stock-service-example} NAMESPACE=${NAMESPACE:-default}
INGRESSGATEWAY=${INGRESSGATEWAY:-istio-ingressgateway} INGRESS_NAMESPACE=${INGRESS_NAMESPACE:-istio-system}
GATEWAY=${GATEWAY:-} DOMAIN_NAME=${DOMAIN_NAME:-} EXPECT=${EXPECT:-} REVISION_HEADER=${REVISION_HEADER:-X-Revision}
WITHIN=${WITHIN:-} TIMEOUT=${TIMEOUT:-30} RATE=${RATE:-} WAIT=${WAIT:-60} tag='' path=/
while [[ ${1:-} == -* ]]; do
  case $1 in
    -h | --help) sed -n '2,/^\[/s/^# \{0,1\}//p' "$0"; exit ;;
    --tag) tag=${2:-} ;;
    --path) path=${2:-} ;;
    *) die "there is no option $1: see -h" ;;
  esac
  if [[ -n ${2:-} ]]; then shift 2; else die "$1 needs a value: see -h"; fi
done
requests=${*-1}
must N "$requests" '[1-9][0-9]{0,4}' "a number of requests from 1 to 99999"
must --path "$path" '/[^][{}[:space:]]*' "a path that begins with / and has no spaces, brackets or braces"
must WITHIN "$WITHIN" '([0-9]+(\.[0-9]+)?)?' "a number of seconds, as 0.5"
must WAIT "$WAIT" '0|[1-9][0-9]{0,3}' "a number of seconds"
[[ -n $GATEWAY && -n $DOMAIN_NAME ]] && asks='' || asks=yes
[[ -z $tag || -z $DOMAIN_NAME ]] || die "set DOMAIN_NAME to the tag's host (rehearsed: $tag.localhost), without --tag"
can=$({ hash awk && curl -qsw '%{exitcode}' --max-time "$TIMEOUT" ${RATE:+--rate "$RATE/s"} none:; } 2>&1 || true)
[[ $can == *[0-9] ]] || die "install awk and curl 7.75 or newer, for RATE 7.84: ${can%%$'\n'*}"

tmp=$(mktemp -d "${TMPDIR:-/tmp}/run-test.XXXXXX") || die "cannot make a folder there: set TMPDIR to another"
trap '((BASH_SUBSHELL)) || { { kill $(jobs -rp) && wait; } 2>/dev/null || true; end; }' EXIT # a child has it, too
trap 'stop 129' HUP && trap 'stop 130' INT && trap 'stop 131' QUIT && trap 'stop 143' TERM
stop() { trap '' HUP INT QUIT TERM && exit "$1"; } # a second signal would end the trap that ends the script
end() {
  if [[ -n ${curl:-} ]]; then tally interrupted || true; fi
  rm -rf "$tmp"
}

# get ARGS... asks kubectl, in the background: bash heeds a signal only while it waits.
get() { kubectl get "$@" --request-timeout=10s >"$tmp/kubectl" 2>"$tmp/errors" & wait $!; }
cannot_get() { die "kubectl cannot get $1: $(sed /^Warning/d "$tmp/errors" | tail -n 1)"; }

# look gets the Service: the traffic as a list of revision,tag,percent, and whether it is what was applied (settled).
target='{.revisionName},{.tag},{.percent} '
fields='{.metadata.generation}|{.status.observedGeneration}|{.status.url}|{.status.latestCreatedRevisionName}'
fields+="|{range .spec.traffic[*]}$target{end}|{range .status.traffic[*]}$target{end}"
fields+="|{.status.traffic[?(@.tag=='${tag:-?}')].url}"
fields+="|{range .status.conditions[?(@.type=='Ready')]}{.status}|{.reason}: {.message}{end}"
look() {
  get ksvc "$SVC_NAME" --namespace "$NAMESPACE" --output "jsonpath=$fields" || return 1
  IFS='|' read -r -d '' generation seen url latest wanted traffic tag_url ready reason <"$tmp/kubectl" || true
  wanted=" $wanted" wanted=${wanted// ,/ $latest,} wanted=${wanted# } # the spec does not name the latest revision
  wanted=${wanted//, /,0 } traffic=${traffic//, /,0 } settled='' reason=${reason//[$'\n'|]/ }
  if [[ -n $tag ]]; then url=${tag_url%% *}; fi
  if [[ $reason != *[!:\ ]* ]]; then reason="$latest is not ready"; fi
  if [[ $generation != "$seen" ]]; then ready=Unknown reason="the last edit is not seen yet"; fi
  if [[ $ready == True ]]; then reason="its traffic is $traffic, its spec asks for $wanted"; fi
  if [[ $ready == True && -n $traffic && $traffic == "$wanted" ]]; then settled=yes; fi
}

# The Service: wait until what was applied is in force, or will not be.
service="Service $SVC_NAME in namespace $NAMESPACE" url=http:// generation='' settled=yes reason='' told=''
traffic=${EXPECT//,/ } traffic=${traffic//=/,,}
while [[ -n $asks ]]; do
  look || cannot_get "$service"
  if [[ -n $settled || $reason == RolloutInProgress* ]]; then break; fi
  # not at once: even a failure can pass, for some seconds it is that of the apply before
  if ((SECONDS >= WAIT)) || [[ $ready == False && $reason != RevisionMissing* && $SECONDS -ge 5 ]]; then
    get pods --namespace "$NAMESPACE" --selector "serving.knative.dev/revision=$latest" --output \
      "jsonpath={range ..['waiting','terminated']}: {.reason} {.message}{end}" || true
    reason+=$(tr '\n|' '  ' <"$tmp/kubectl")
    [[ -n $url && -n $traffic ]] || die "$service is not Ready after $SECONDS s: $reason"
    break
  fi
  if ((SECONDS >= 3)) && [[ $reason != "$told" ]]; then told=$reason && say "waiting for $service: $told"; fi
  sleep 0.3
done
[[ -n $url ]] || die "$service has no tag $tag: apply a file that gives it one"
if [[ -n $DOMAIN_NAME ]]; then url=${url%%//*}//$DOMAIN_NAME; fi
if [[ $GATEWAY == *://* ]]; then url=${GATEWAY%%//*}//${url#*//} GATEWAY=${GATEWAY#*//} GATEWAY=${GATEWAY%/}; fi
[[ $url != *.svc.cluster.local ]] || die "$url is of the cluster alone: set Knative's config-domain or the visibility"

# The gateway: the address of its load balancer, or an external IP.
if [[ -z $GATEWAY ]]; then
  service="Service $INGRESSGATEWAY in namespace $INGRESS_NAMESPACE"
  get service "$INGRESSGATEWAY" --namespace "$INGRESS_NAMESPACE" --output \
    'jsonpath={range .status.loadBalancer.ingress[*]}{.ip} {.hostname} {end}{.spec.externalIPs[*]}' ||
    cannot_get "the gateway's $service (for Kourier set INGRESSGATEWAY=kourier INGRESS_NAMESPACE=kourier-system)"
  read -r GATEWAY _ <"$tmp/kubectl" || true
  [[ -n $GATEWAY ]] || die "$service has no load balancer: run \"minikube tunnel\", or set GATEWAY to node:nodePort" \
    "or to http://localhost:8081 for \"kubectl port-forward -n $INGRESS_NAMESPACE service/$INGRESSGATEWAY 8081:80\""
  if [[ $GATEWAY == *:* ]]; then GATEWAY="[$GATEWAY]"; fi
fi

# tally prints the table, and how it ended. Until then it prints on a terminal alone, and fails if nothing answers.
tally() {
  NOTE=$(cat "$tmp/note") LC_ALL=C awk -F '|' -v N="$requests" -v TIMEOUT="$TIMEOUT" -v WITHIN="$WITHIN" \
    -v header="$REVISION_HEADER" -v service="$SVC_NAME" -v tag="$tag" -v asks="$asks" \
    -v mark="$mark" -v ended="$1" -v lines="$lines" -v columns="$columns" -v name_width=8 -v tag_width=3 '
    BEGIN {
      split(ENVIRON["NOTE"], note, "|") # since which line, generation, settled, traffic, reason
      known = split(note[4], target, " ")
      for (i = 1; i <= known; i++) {
        split(target[i], part, ",")
        if (tag != "" && part[2] != tag) continue
        name = row(part[1])
        sum += part[3]
        weight[name] += part[3]
        tags[name] = tags[name] (tags[name] != "" && part[2] != "" ? "," : "") part[2]
        if (length(tags[name]) > tag_width) tag_width = length(tags[name])
      }
      if (tag != "" && rows == 1) weight[name] = 100 # of what is sent to the tag
      if (note[5] ~ /^RolloutInProgress/) problem = "a gradual rollout is in progress: the shares are not judged"
      else if (note[1] > 0 || ended == "changed") problem = "the Service has changed: the shares are not judged"
      else if (!note[3]) problem = "what was applied is not in force: " note[5]
      else if (known && !asks && sum != 100) problem = "the percentages of EXPECT add up to " sum
    }

    $1 != mark || NF < 6 { # a header of the answer
      ends = $0 ~ /^HTTP\// ? 0 : ends + ($0 ~ /^\r?$/) # empty lines: one ends the headers, one is before the mark
      name = tolower(substr($0, 1, index($0, ":") - 1))
      gsub(/^[^:]*:[ \t]*|[ \t\r]+$/, "")
      gsub(/[[:cntrl:]]/, "?")
      headers[name] = $0
      next
    }
    {
      name = row(headers[tolower(header)])
      from = name == "" ? ", which names no revision" : " from " name
      sub(/ (after|with) [0-9]+ [0-9a-z ]+/, "", $6) # one cause in one way, without its times and sizes
      what = ""
      if ($3 == "000" && $2 == 28 && $4 > 0) what = "connected, but no answer within " TIMEOUT " s"
      else if ($3 == "000") what = "no answer (" $6 ")"
      else if ($2 || ends < 2) what = "an answer cut short (" ($2 ? $6 : "in its headers") ")" from
      else if ($3 !~ /^2/) what = "status " $3 from
      else if (WITHIN != "" && $5 > WITHIN + 0) what = "took longer than " WITHIN " s" from
      if (what != "") tell("requests failed: " what)
      else if (name == "") tell("answers name no revision in the header " header)
      if (asks && headers["x-rehearsal"] != "") tell("answers came from a rehearsal, not from the cluster: set GATEWAY")

      sent++
      reached += $3 > 0 || $2 == 28 && $4 > 0
      silent = $2 ? silent + ($2 != 28 ? 1 : sent == 1 ? 5 : 3) : 0 # in a row; a time-out of the first is enough
      since = NR > note[1] # else it met another traffic
      total += since
      count[name] += since
      if (since && what != "") any_failed = ++failed[name]
      if (since && headers["x-pod"] != "" && !pod[name, headers["x-pod"]]++) any_pods = ++pods[name]
      split("", headers)
    }

    END {
      if (N > 1 && (ended || columns)) draw(ended ? 0 : columns)
      if (!ended) exit silent >= 5
      if (ended == "interrupted") complain("interrupted after " sent + 0 " of " N " requests")
      else if (sent < N) complain("gave up after " sent + 0 " of " N " requests")
      for (i = 1; i <= kinds; i++) complain(times[kind[i]] " of " sent " " kind[i])
      if (sent && !reached) complain("set GATEWAY to an address of the gateway, with http:// where it takes no https")
      if (problem != "") complain(problem)
      for (i = 1; known && problem == "" && sent == N && i <= rows; i++) judge(order[i], weight[order[i]] / 100)
      if (bad || N == 1) exit bad
      print "\nok: no request failed" (known ? ", and each share fits its percentage" : "; no percentages were given")
      print "with " N " requests, " passing "failures of one in " int(N / 4.605 + 0.5) + (N < 3) " show 99 times in 100"
    }

    function row(name) {
      if (!asks) sub("^" service "-", "", name) # EXPECT may have either
      if (name == "" || name in weight) return name
      if (rows >= known + 20) return "" # so many are no revisions
      order[++rows] = name
      weight[name] = count[name] = 0
      if (length(name) > name_width) name_width = length(name)
      return name
    }

    function draw(room,  i, name, share, format, line) {
      if (room && rows + 2 > lines) return
      if (columns) printf "\033[J"
      format = "%-" name_width "s" (asks ? "  %-" tag_width "s" : "%.0s") (known ? "  %8s" : "%.0s") "  %8s  %5s"
      format = format (any_failed ? "  %6s" : "%.0s") (any_pods ? "  %4s" : "%.0s") "  %s"
      for (i = 0; i <= rows; i++) {
        name = order[i]
        share = total ? count[name] / total : 0
        line = sprintf(format, name, tags[name], weight[name] "%", sprintf("%.1f%%", 100 * share), count[name], \
          failed[name] + 0, pods[name] + 0, substr("##########", 1, int(10 * share + 0.5)))
        if (!i) line = sprintf(format, "REVISION", "TAG", "EXPECTED", "OBSERVED", "COUNT", "FAILED", "PODS", "")
        if (room && length(line) > room) line = substr(line, 1, room + 1)
        sub(room && length(line) > room ? " +[^ ]*$" : " +$", "", line)
        print room ? substr(line, 1, room) : line
      }
      if (room) printf "\033[%dA", rows + 1
    }

    # judge fails an honest split less than once in 10,000 runs. A request that names no revision can be of any.
    function judge(name, p,  least, most) {
      least = fewest(p)
      most = total - fewest(1 - p)
      if (count[name] + count[""] < least || count[name] > most)
        complain(name " got " count[name] " of " total ", and chance explains " least " to " most " for " 100 * p "%")
      if (least < most && !passes[p]++) passing = passing \
        sprintf("%.1f%% to %.1f%% pass for %s%%, and ", 100 * least / total, 100 * most / total, weight[name])
    }

    function fewest(p,  n, left, term, sum) {
      if (p == 1) return total
      term = sum = 1
      for (left = total; left > 0; left--) {
        term *= 1 - p # not all awks have exp, log or ^
        for (sum *= 1 - p; sum <= 0.00005 / rows; n++) sum += term *= (total - n) / (n + 1) * p / (1 - p)
      }
      return n + 0
    }
    function tell(what) { if (!times[what]++) kind[++kinds] = what }
    function complain(what) { bad = 1; print "run-test.sh: " what | "cat >&2" }
  ' "$tmp/answers"
}

note() { echo "$1|$generation|$settled|$traffic|$reason" >"$tmp/note"; } # found after this line of the answers
changed() { [[ $(cat "$tmp/note") != *"|$generation|$settled|$traffic|"* ]]; }
watch() {
  trap '' HUP INT QUIT && trap 'kill $!; exit' TERM # at Ctrl-C it is the script that ends the watch
  while sleep 1 & wait $!; do
    if [[ -n $asks ]] && look && changed; then note "$(wc -l <"$tmp/answers")"; fi
    tally "" || kill "$curl"
  done
}

# Send: one curl for all requests, by a fragment that only counts. A line that begins with $mark ends each answer.
body=/dev/null mark="answer $RANDOM$RANDOM" lines=0 columns=0
if ((requests == 1)); then body=$tmp/body; else echo "$requests requests to $url$path through $GATEWAY"; echo; fi
if [[ -t 1 && ${TERM:-dumb} != dumb ]]; then read -r lines columns <<<"$(stty size 2>&- </dev/tty || echo 0 0)"; fi
note 0
curl --disable "$url$path#[1-$requests]" --silent --noproxy '*' --connect-to "::$GATEWAY" --http1.1 \
  --header 'Connection: close' --connect-timeout 3 --max-time "$TIMEOUT" ${RATE:+--rate "$RATE/s"} \
  --output "$body" --dump-header - --write-out \
  "%{stderr}\n$mark|%{exitcode}|%{http_code}|%{time_connect}|%{time_total}|%{errormsg}\n" >"$tmp/answers" 2>&1 &
curl=$! ended=all
watch 2>/dev/null &
watch=$!
wait $curl 2>/dev/null || true
{ kill $watch && wait $watch; } 2>/dev/null || true
if [[ -n $asks ]] && { ! look || changed; }; then ended=changed; fi
curl=''
if [[ -f $body ]]; then cat "$body"; fi
tally $ended
