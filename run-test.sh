#!/usr/bin/env bash
# Sends requests through the ingress gateway and shows which revisions answer.
# usage: run-test.sh [--tag TAG] [--path PATH] [N]
#
# Prints one answer, or sends N requests, each on a connection of its own, and
# shows each revision's share. Exits with 0 if no request failed and the shares
# fit the route's percentages, with 1 if not or if it cannot tell, and with 2 if
# it could not try.
#
#   SVC_NAME, NAMESPACE                 the Knative Service (stock-service-example, default)
#   INGRESSGATEWAY, INGRESS_NAMESPACE   the gateway's Service (istio-ingressgateway, istio-system)
#   GATEWAY, DOMAIN_NAME                the gateway's [scheme://]host[:port], the route's host; both: no cluster is asked
#   EXPECT                              the percentages, where no cluster is asked: v1=40,v2=60
#   REVISION_HEADER                     the header by which an answer names its revision (X-Revision)
#   WITHIN                              seconds within which an answer must come, or it has failed
#   TIMEOUT                             seconds to wait for an answer (30)
#   RATE                                requests per second at most
#   WAIT                                seconds for the Service to become Ready after an apply (60)
[ -n "${BASH_VERSION:-}" ] || { echo "run-test.sh needs bash: bash run-test.sh" >&2; exit 2; }
set -euo pipefail

say() { printf 'run-test.sh: %s\n' "$*" >&2; }
die() { say "$@"; exit 2; }
must() { [[ $2 =~ ^($3)$ ]] || die "$1 is $4, not \"$2\": see -h"; }

# The options and variables.
SVC_NAME=${SVC_NAME:-stock-service-example} NAMESPACE=${NAMESPACE:-default}
INGRESSGATEWAY=${INGRESSGATEWAY:-istio-ingressgateway} INGRESS_NAMESPACE=${INGRESS_NAMESPACE:-istio-system}
GATEWAY=${GATEWAY:-} DOMAIN_NAME=${DOMAIN_NAME:-} EXPECT=${EXPECT:-} REVISION_HEADER=${REVISION_HEADER:-X-Revision}
WITHIN=${WITHIN:-} TIMEOUT=${TIMEOUT:-30} RATE=${RATE:-} WAIT=${WAIT:-60} tag='' path=/ asks='' sending=''
while [[ ${1:-} == -* ]]; do
  case $1 in
    -h | --help) sed -n '2,/^\[/s/^# \{0,1\}//p' "$0"; exit ;;
    --tag) tag=${2:-} ;;
    --path) path=${2:-} ;;
    *) die "there is no option $1: see -h" ;;
  esac
  (($# > 1)) || die "$1 needs a value: see -h"
  shift 2
done
requests=${*-1}
must N "$requests" '[1-9][0-9]{0,4}' "a number of requests from 1 to 99999"
must --tag "$tag" '[a-z0-9-]*' "a tag of the Service's traffic"
must --path "$path" '/[^][{}[:space:]]*' "a path that begins with / and has no spaces, brackets or braces"
must WITHIN "$WITHIN" '([0-9]{1,3}(\.[0-9]{1,3})?)?' "a number of seconds, as 0.5"
must WAIT "$WAIT" '0|[1-9][0-9]{0,3}' "a number of seconds"
[[ -n $GATEWAY && -n $DOMAIN_NAME ]] || asks=yes
[[ -z $tag || -z $DOMAIN_NAME ]] || die "the tag $tag has a host of its own: set DOMAIN_NAME to it, without --tag"
[[ -z $asks || -z $EXPECT ]] || die "the cluster has the percentages: unset EXPECT, or set GATEWAY and DOMAIN_NAME"
[[ -z $asks ]] || hash kubectl 2>/dev/null || die "kubectl is not installed; without it, set GATEWAY and DOMAIN_NAME"
# a curl that is too old prints nothing here
[[ $(hash awk && curl -qsw '%{exitcode}' none: 2>&1) == [0-9]* ]] || die "awk and curl 7.75 or newer must be installed"

tmp=$(mktemp -d "${TMPDIR:-/tmp}/run-test.XXXXXX") || die "cannot make a folder there: set TMPDIR to another"
trap end EXIT
trap 'exit 129' HUP && trap 'exit 130' INT && trap 'exit 131' QUIT && trap 'exit 143' TERM

# end stops what runs, and shows what was answered until then.
end() {
  trap '' HUP INT QUIT TERM
  { kill $(jobs -rp) && wait; } 2>/dev/null || true
  if [[ -n $sending ]]; then tally interrupted || true; fi
  rm -rf "$tmp"
}

# get ARGS... asks kubectl, in the background: bash heeds a signal only while it waits.
get() { kubectl get "$@" --request-timeout=10s >"$tmp/kubectl" 2>"$tmp/errors" & wait $!; }
cannot_get() { die "kubectl cannot get $1: $(sed /^Warning/d "$tmp/errors" | tail -n 1)"; }

# look gets the Service: the traffic as a list of revision,tag,percent, and whether it is what was applied (settled).
target='{.revisionName},{.tag},{.percent} ' at_tag="{range .status.traffic[?(@.tag=='${tag:-?}')]}"
fields='{.metadata.generation}|{.status.observedGeneration}|{.status.url}|{.status.latestCreatedRevisionName}'
fields+="|{range .spec.traffic[*]}$target{end}|{range .status.traffic[*]}$target{end}|$at_tag{.url} {end}"
fields+="|$at_tag$target{end}|{range .status.conditions[?(@.type=='Ready')]}{.status}|{.reason}: {.message}{end}"
look() {
  get ksvc "$SVC_NAME" --namespace "$NAMESPACE" --output "jsonpath=$fields" || return 1
  IFS='|' read -r -d '' generation seen url latest wanted traffic tag_url tag_traffic ready reason <"$tmp/kubectl" || true
  wanted=" $wanted" wanted=${wanted// ,/ $latest,} wanted=${wanted# } # the spec does not name the latest revision
  wanted=${wanted//, /,0 } traffic=${traffic//, /,0 } settled='' reason=${reason//[$'\n'|]/ }
  if [[ $generation != "$seen" ]]; then ready=Unknown reason="the last edit is not seen yet"; fi
  if [[ $ready == True && $traffic == "$wanted" ]]; then settled=yes; fi
  if [[ $ready == True ]]; then reason="its traffic is $traffic, its spec asks for $wanted"; fi
  if [[ -z $tag ]]; then return; fi
  url=${tag_url%% *} traffic=$tag_traffic
  if [[ $traffic != *" "*" " ]]; then traffic=${traffic%,*},100; fi # of what is sent to the tag
}

# The Service: wait until what was applied is in force, or will not be.
service="Service $SVC_NAME in namespace $NAMESPACE" url=http:// generation='' settled=yes reason='' told=''
traffic="${EXPECT//,/ } " traffic=${traffic//=/,,}
while [[ -n $asks ]]; do
  look || cannot_get "$service"
  if [[ -n $settled || $reason == RolloutInProgress* ]]; then break; fi
  # not at once: even a failure can pass, for some seconds it is that of the apply before
  if ((SECONDS >= WAIT)) || [[ $ready == False && $SECONDS -ge 5 ]]; then
    get pods --namespace "$NAMESPACE" --selector "serving.knative.dev/revision=$latest" --output \
      "jsonpath={.items[*].status.containerStatuses[*].state.waiting['reason','message']}" || true
    if [[ $reason == ": " ]]; then reason="$latest is not ready: $(tr '\n|' '  ' <"$tmp/kubectl")"; fi
    [[ -n $url && -n $traffic ]] || die "$service is not Ready after $SECONDS s: $reason"
    break
  fi
  if ((SECONDS >= 3)) && [[ $reason != "$told" ]]; then told=$reason && say "waiting for $service: $told"; fi
  sleep 0.3
done
[[ -n $url ]] || die "$service has no tag $tag: apply a file that gives it one"
if [[ -n $DOMAIN_NAME ]]; then url=${url%%//*}//$DOMAIN_NAME; fi
if [[ $GATEWAY == *://* ]]; then url=${GATEWAY%%//*}//${url#*//} GATEWAY=${GATEWAY#*//} GATEWAY=${GATEWAY%/}; fi
[[ $url != *.svc.cluster.local ]] || die "the route has no address outside the cluster ($url):" \
  "set Knative's domain (config-domain), or the Service's visibility"

# The gateway: the address of its load balancer, an external IP, or a node's address with the nodePort.
if [[ -z $GATEWAY ]]; then
  service="Service $INGRESSGATEWAY in namespace $INGRESS_NAMESPACE" port=80
  if [[ $url == https:* ]]; then port=443; fi
  addresses='{range .status.loadBalancer.ingress[*]}{.ip} {.hostname} {end}{.spec.externalIPs[*]}'
  if ! get service "$INGRESSGATEWAY" --namespace "$INGRESS_NAMESPACE" --output \
    "jsonpath=$addresses|{.spec.ports[?(@.port==$port)].nodePort}"; then
    ! kubectl get service kourier --namespace kourier-system --request-timeout=5s >/dev/null 2>&1 ||
      die "the gateway is Kourier: set INGRESSGATEWAY=kourier INGRESS_NAMESPACE=kourier-system"
    cannot_get "the gateway's $service"
  fi
  IFS=' |' read -r address node_port _ <"$tmp/kubectl" || true
  if [[ -z $address && -n $node_port ]]; then
    port=$node_port
    get nodes --output "jsonpath={.items[*].status.addresses[?(@.type=='InternalIP')].address}" ||
      cannot_get "a node's address"
    read -r address _ <"$tmp/kubectl" || true
  fi
  [[ -n $address ]] || die "$service has no address to reach it from here: run \"minikube tunnel\", or \"kubectl" \
    "port-forward --namespace $INGRESS_NAMESPACE service/$INGRESSGATEWAY 8081:80\" and set GATEWAY=http://localhost:8081"
  if [[ $address == *:* ]]; then address="[$address]"; fi
  GATEWAY=$address:$port
fi

# note keeps what look has found for the tally, and after which line of the answers it is so.
note() { echo "$(wc -l <"$tmp/answers")|$generation|$settled|$traffic|$reason" >"$tmp/note"; }
changed() { [[ $(cat "$tmp/note") != *"|$generation|$settled|$traffic|"* ]]; }

# tally prints the table, on a terminal over the one before, and how it ended. Until then it fails if nothing answers.
tally() {
  LC_ALL=C awk -F '|' -v N="$requests" -v TIMEOUT="$TIMEOUT" -v WITHIN="$WITHIN" -v header="$REVISION_HEADER" \
    -v service="$SVC_NAME" -v asks="$asks" -v gateway="$GATEWAY" -v mark="$mark" -v note="$(cat "$tmp/note")" \
    -v ended="$1" -v lines="$lines" -v columns="$columns" '
    BEGIN {
      split(note, now, "|")
      known = split(now[4], target, " ")
      for (i = 1; i <= known; i++) {
        split(target[i], part, ",")
        name = row(part[1])
        sum += part[3]
        weight[name] += part[3]
        tags[name] = tags[name] (tags[name] != "" && part[2] != "" ? "," : "") part[2]
        if (length(tags[name]) > tag_width) tag_width = length(tags[name])
      }
      if (now[1] > 0 || ended == "changed") problem = "the traffic changed meanwhile, and the shares are not judged"
      else if (now[5] ~ /^RolloutInProgress/) problem = "a gradual rollout is in progress, and the shares are not judged"
      else if (!now[3]) problem = "what was applied is not in force: " now[5]
      else if (known && sum != 100) problem = "the percentages add up to " sum
    }

    $1 != mark { # a header of the answer
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
      else if ($2) what = "an answer cut short (" $6 ")" from
      else if ($3 !~ /^2/) what = "status " $3 from
      else if (WITHIN != "" && $5 > WITHIN + 0) what = "took longer than " WITHIN " s" from
      if (what != "") tell("requests failed: " what)
      else if (name == "") tell("answers name no revision: they have no header " header)
      else if (name == "others") tell("answers name more revisions than the table has room for")
      if (asks && headers["x-rehearsal"] != "") tell("answers came from a rehearsal, not from the cluster: set GATEWAY")

      sent++
      error = $2
      whole += !error
      silent = error ? silent + 1 : 0 # requests in a row
      silence = error ? silence + $5 : 0 # seconds
      if (NR > now[1]) {
        total++
        count[name]++
        if (what != "") any_failed = ++failed[name]
        if (headers["x-pod"] != "" && !seen[name, headers["x-pod"]]++) any_pods = ++pods[name]
      }
      split("", headers)
    }

    END {
      if (ended == "") {
        if (columns) draw(columns)
        exit silent >= 5 || silence >= TIMEOUT
      }
      if (N > 1) draw(0)
      if (sent < N && ended != "interrupted") ended = silent ? "gave up" : "curl ended (" $0 ")"
      if (sent < N || ended == "interrupted") complain(ended " after " sent + 0 " of " N " requests")
      for (i = 1; i <= kinds; i++) complain(times[kind[i]] " of " sent " " kind[i])
      if (!whole && error == 60) complain("set CURL_CA_BUNDLE to a file of certificates to trust")
      else if (!whole && error == 35) complain("to ask the gateway by http, set GATEWAY=http://" gateway)
      else if (!whole) complain("set GATEWAY to an address that reaches the gateway from here")
      if (problem != "") complain(problem)
      for (i = 1; known && problem !~ /not judged$/ && sent == N && i <= rows; i++) judge(order[i], weight[order[i]] / 100)
      if (bad || N == 1) exit bad
      print "\nok: no request failed" (known ? ", and each share fits its percentage" : "; no percentages were given")
      print total " requests: " passing "failures of one request in " int(N / 4.605 + 0.5) " show 99 times in 100"
    }

    # row finds the row of a revision, or makes it
    function row(name,  short) {
      short = substr(name, length(service) + 2)
      if (!(name in weight) && name == service "-" short && short in weight) return short # as EXPECT has it
      if (name == "" || name in weight) return name
      if (rows == known + 20) name = "others"
      if (!(name in weight)) order[++rows] = name
      weight[name] += 0
      if (length(name) > name_width) name_width = length(name)
      return name
    }

    # draw prints the table, as wide as the terminal or, for 0, as it is
    function draw(room,  i, name, share) {
      if (room && rows + 2 > lines) return
      if (columns) printf "\033[J"
      for (i = 0; i <= rows; i++) {
        name = order[i]
        share = total ? count[name] / total : 0
        line = sprintf("%-" name_width "s", i ? name : "REVISION")
        if (known) cell(room, -tag_width, i ? tags[name] : "TAG")
        if (known) cell(room, 8, i ? weight[name] "%" : "EXPECTED")
        cell(room, 8, i ? sprintf("%.1f%%", 100 * share) : "OBSERVED")
        cell(room, 5, i ? count[name] + 0 : "COUNT")
        if (any_failed) cell(room, 6, i ? failed[name] + 0 : "FAILED")
        if (any_pods) cell(room, 4, i ? pods[name] + 0 : "PODS")
        if (i) cell(room, -10, substr("##########", 1, int(10 * share + 0.5)))
        sub(/ +$/, "", line)
        print line
      }
      if (room) printf "\033[%dA", rows + 1
    }

    # cell adds a column to the line, where there is room for it
    function cell(room, width, text) {
      if (!room || length(line) + 2 + (width < 0 ? -width : width) <= room) line = line sprintf("  %" width "s", text)
    }

    function tell(what) {
      if (!times[what]++) kind[++kinds] = what
    }

    # judge fails an honest split less than once in 10,000 runs. A request that names no revision can be of any.
    function judge(name, p,  least, most) {
      least = fewest(p)
      most = total - fewest(1 - p)
      if (count[name] + count[""] < least || count[name] > most)
        complain(name " answered " count[name] + 0 " of " total " requests, and chance explains " least " to " most \
          " for " 100 * p "%")
      if (least < most && !said[p]++) passing = passing sprintf("shares from %.1f%% to %.1f%% pass for %.0f%%, ", \
        100 * least / total, 100 * most / total, 100 * p)
    }

    # fewest finds the least count that chance explains for a share of p
    function fewest(p,  n, log_chance, sum) {
      if (p == 0 || p == 1) return p * total
      log_chance = total * log(1 - p) # of n = 0
      for (n = 0; (sum += exp(log_chance)) <= 0.00005 / rows; n++) log_chance += log((total - n) / (n + 1) * p / (1 - p))
      return n
    }

    function complain(what) {
      print "run-test.sh: " what | "cat >&2"
      bad = 1
    }
  ' "$tmp/answers"
}

# watch looks at the Service each second, and draws the table.
watch() {
  trap 'kill $!; exit' TERM
  while sleep 1 & wait $!; do
    if [[ -n $asks ]] && look && changed; then note; fi
    tally "" || kill "$curl"
  done
}

# Send: one curl for all requests, by a fragment of the URL that only counts. After the headers of each answer it
# writes a line that begins with $mark.
body=/dev/null mark="answer $RANDOM$RANDOM" lines=0 columns=0
if [[ -t 1 && ${TERM:-dumb} != dumb ]]; then read -r lines columns <<<"$(stty size 2>/dev/null </dev/tty || echo 0 0)"; fi
if ((requests == 1)); then body=$tmp/body; else echo "$requests requests to $url$path through $GATEWAY"; echo; fi
true >"$tmp/answers"
note
curl --disable "$url$path#[1-$requests]" --silent --noproxy '*' --connect-to "::$GATEWAY" --http1.1 \
  --header 'Connection: close' --connect-timeout 3 --max-time "$TIMEOUT" ${RATE:+--rate "$RATE/s"} \
  --output "$body" --dump-header - --write-out \
  "%{stderr}\n$mark|%{exitcode}|%{http_code}|%{time_connect}|%{time_total}|%{errormsg}\n" >"$tmp/answers" 2>&1 &
curl=$! sending=yes ended=all
watch &
watcher=$!
wait $curl 2>/dev/null || true
{ kill $watcher && wait $watcher; } 2>/dev/null || true
if [[ -n $asks ]] && { ! look || changed; }; then ended=changed; fi
sending=''
if ((requests == 1)); then cat "$tmp/body" 2>/dev/null || true; fi
tally $ended
