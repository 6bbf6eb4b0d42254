#!/usr/bin/env bash
# Sends requests through the ingress gateway and shows which revisions answer.
# usage: run-test.sh [--tag TAG] [--path PATH] [N]
#
# Prints one answer, or sends N requests, each on a connection of its own, and
# shows each revision's share. Exits with 0 if no request failed and the shares
# fit the Service's percents, with 1 if not, or if the Service was edited
# meanwhile, and with 2 if it could not try.
#
#   SVC_NAME, NAMESPACE                 the Knative Service (stock-service-example, default)
#   INGRESSGATEWAY, INGRESS_NAMESPACE   the gateway's Service (istio-ingressgateway, istio-system)
#   GATEWAY, DOMAIN_NAME                host[:port] of the gateway, host of the route: with both, no cluster is asked
#   RATE                                requests per second at most
#   WAIT                                seconds for the Service to become Ready after an apply (60)
set -eEuo pipefail
trap 'die "\"$BASH_COMMAND\" failed"' ERR

say() { printf 'run-test.sh: %s\n' "$*" >&2; }
die() { say "$@" || true; exit 2; }
must() { [[ $2 =~ ^($3)$ ]] || die "$1 is $4, not \"$2\": -h explains"; }

# ask WHAT ARGS... calls kubectl, whose answer goes to $tmp/answer.
ask() {
  kubectl "${@:2}" --request-timeout=10s >"$tmp/answer" 2>"$tmp/errors" &
  wait $! || die "kubectl cannot get $1: $(sed /^Warning/d "$tmp/errors" | tail -n 1)"
}

# The options and variables.
SVC_NAME=${SVC_NAME:-stock-service-example} NAMESPACE=${NAMESPACE:-default}
INGRESSGATEWAY=${INGRESSGATEWAY:-istio-ingressgateway} INGRESS_NAMESPACE=${INGRESS_NAMESPACE:-istio-system}
GATEWAY=${GATEWAY:-} DOMAIN_NAME=${DOMAIN_NAME:-} RATE=${RATE:-} WAIT=${WAIT:-60} tag='' path=/
while [[ ${1:-} == -* ]]; do
  case $1 in
    -h | --help) sed -n '2,/^set/s/^# \{0,1\}//p' "$0"; exit ;;
    --tag) tag=${2:-?} ;;
    --path) path=${2:-?} ;;
    *) die "there is no option $1: -h explains" ;;
  esac
  shift $(($# > 1 ? 2 : 1))
done
requests=${*-1} mark="answer $RANDOM$RANDOM" GATEWAY=${GATEWAY#http://} GATEWAY=${GATEWAY%/}
host='(\[[0-9A-Fa-f:.]+\]|[0-9A-Za-z._-]+)(:[0-9]{1,5})?'
must N "$requests" '[1-9][0-9]{0,4}' "a number of requests from 1 to 99999"
must --tag "$tag" '[a-z0-9-]*' "a tag of the Service's traffic"
must --path "$path" '/[^][{}[:space:]]*' "a path that begins with / and has no spaces, brackets or braces"
must RATE "$RATE" '([1-9][0-9]{0,2})?' "a number of requests per second from 1 to 999"
must WAIT "$WAIT" '0|[1-9][0-9]{0,3}' "a number of seconds"
must GATEWAY "$GATEWAY" "($host)?" "the gateway's host[:port]"
must DOMAIN_NAME "$DOMAIN_NAME" "($host)?" "the route's host"
[[ -z $tag || -z $DOMAIN_NAME ]] || die "the tag $tag has a host of its own: unset DOMAIN_NAME, or set it to that and leave out --tag"
[[ $(hash awk && curl --help all) == *" --rate "* ]] 2>/dev/null || die "awk and curl must be installed, curl 7.84 or newer"
[[ -n $GATEWAY && -n $DOMAIN_NAME ]] || hash kubectl 2>/dev/null || die "kubectl is not installed; without it, set GATEWAY and DOMAIN_NAME"

{ tmp=$(mktemp -d) && mkfifo "$tmp/answers"; } || die "cannot make a folder with a pipe in ${TMPDIR:-/tmp}: set TMPDIR to another"
trap 'trap "" HUP INT QUIT TERM; { kill $(jobs -rp) && wait; } 2>/dev/null || true; rm -rf "$tmp"' EXIT
trap 'exit 129' HUP && trap 'exit 130' INT && trap 'exit 131' QUIT && trap 'exit 143' TERM

# The Service: wait until it is done with the last kubectl apply.
SECONDS=0 url=http:// targets='' generation='' told='' columns='' mawk='' service="Service $SVC_NAME in namespace $NAMESPACE"
fields='{.metadata.generation}|{.status.observedGeneration}|{.status.url}|{.status.latestCreatedRevisionName}'
fields+='|{range .spec.traffic[*]}{.revisionName},{.tag},{.percent} {end}|{range .status.traffic[*]}{.revisionName},{.tag},{.percent} {end}'
fields+="|{range .status.traffic[?(@.tag=='${tag:-?}')]}{.url} {.revisionName},{.tag},100{end}"
fields+="|{range .status.conditions[?(@.type=='Ready')]}{.status}|{.reason}: {.message}{end}"
while [[ -z $GATEWAY || -z $DOMAIN_NAME ]]; do
  ask "$service" get ksvc "$SVC_NAME" --namespace "$NAMESPACE" --output "jsonpath=$fields"
  IFS='|' read -r -d '' generation observed url latest wanted targets at_tag ready condition <"$tmp/answer" || true
  wanted=" $wanted" wanted=${wanted// ,/ $latest,} # the spec does not name the latest revision
  if [[ $ready == True && $generation == "$observed" && -n $targets && " $targets" == "$wanted" ]]; then break; fi
  if [[ $ready == True ]]; then condition="its traffic is $targets, its spec's$wanted"; fi
  if ((SECONDS >= WAIT)); then
    kubectl get revisions,pods --namespace "$NAMESPACE" --selector "serving.knative.dev/service=$SVC_NAME" --request-timeout=5s >&2 || true
    die "$service is not Ready after $WAIT s: $condition"
  fi
  # not at once: even a failure can pass, for some seconds it is that of the apply before
  if ((SECONDS >= 3)) && [[ $condition != "$told" ]]; then told=$condition && say "waiting for $service: $told"; fi
  sleep 0.3
done
if [[ -n $tag ]]; then read -r url targets <<<"$at_tag"; fi
[[ -n $url ]] || die "$service has no tag $tag: apply a file that gives it one"
if [[ -n $DOMAIN_NAME ]]; then url=${url%%://*}://$DOMAIN_NAME; fi

# The gateway: its load balancer's address, or else a node's with the nodePort.
if [[ -z $GATEWAY ]]; then
  service="Service $INGRESSGATEWAY in namespace $INGRESS_NAMESPACE" port=80 at_node=''
  if [[ $url == https:* ]]; then port=443; fi
  ask "the gateway's $service" get service "$INGRESSGATEWAY" --namespace "$INGRESS_NAMESPACE" --output \
    "jsonpath={range .status.loadBalancer.ingress[*]}{.ip} {.hostname} {end}|{.spec.ports[?(@.port==$port)].nodePort}"
  IFS=' |' read -r address node_port _ <"$tmp/answer" || true
  if [[ -z $address && -n $node_port ]]; then
    ask "a node's address" get nodes --output "jsonpath={.items[*].status.addresses[?(@.type=='InternalIP')].address}"
    read -r address _ <"$tmp/answer" || true
    at_node=$node_port
  fi
  [[ -n $address ]] || die "$service has no address to reach it from here: run \"minikube tunnel\", or" \
    "\"kubectl port-forward --namespace $INGRESS_NAMESPACE service/$INGRESSGATEWAY 8081:$port\" and set GATEWAY=localhost:8081"
  if [[ $address == *:* ]]; then address="[$address]"; fi
  GATEWAY=$address:${at_node:-$port}
fi

# Send, with a URL's fragment that only counts: each answer's body comes, then a line that begins with $mark.
(
  trap 'kill $!; exit' TERM
  curl --disable "$url$path#[1-$requests]" --silent --no-buffer --noproxy '*' --connect-to "::$GATEWAY" \
    --http1.1 --header 'Connection: close' --connect-timeout 3 --max-time 9 ${RATE:+--rate "$RATE/s"} --write-out \
    "%{stderr}\n$mark|%{exitcode}|%{http_code}|%{time_total}|%header{x-revision}|%header{x-pod}|%header{x-rehearsal}|%{errormsg}\n" 2>&1 &
  wait $! || true
  [[ -z $targets ]] || exec kubectl get ksvc "$SVC_NAME" --namespace "$NAMESPACE" --request-timeout=5s --output 'jsonpath={.metadata.generation}'
) >"$tmp/answers" 2>/dev/null &

# Tally: print the table, which grows on a terminal, and the verdict.
if ((requests > 1)); then printf '%s requests to %s through %s\n\n' "$requests" "$url$path" "$GATEWAY"; fi
if [[ -t 1 && ${TERM:-dumb} != dumb ]]; then read -r _ columns <<<"$(stty size 2>/dev/null </dev/tty || true)"; fi
if [[ $(awk -W version 2>&1 </dev/null) == mawk* ]]; then mawk=1; fi # it reads 4 KB before it looks for a line
(
  trap '' HUP INT QUIT TERM # it ends with what it reads
  LC_ALL=C exec awk ${mawk:+-W interactive} -F '|' -v N="$requests" -v RATE="$RATE" -v columns="$columns" \
    -v mark="$mark" -v service="$SVC_NAME" -v targets="$targets" -v generation="$generation" '
    BEGIN {
      name_width = 8; tag_width = 3 # of the headings
      known = split(targets, field, /[ ,]/)
      for (i = 1; i < known; i += 3) row(field[i], field[i + 1], field[i + 2])
    }

    $1 != mark {
      if (N == 1 && !sent) printf "%s%s", lines ? "\n" : "", $0 # the last line break is of the mark
      if (!lines++) text = $0
      next
    }
    {
      gsub(/\r\|/, "|"); gsub(/[[:cntrl:]]/, "?") # curl leaves an empty header its \r
      name = row($5 == "" && $3 ~ /^2/ ? named_by(text) : $5)
      from = name == "" ? ", which names no revision" : " from " name
      text = lines = what = ""
      sent++
      answers[name]++
      answered += name != ""
      if ($6 != "" && !seen[name, $6]++) any_pods = ++pods[name]
      if ($2 || $3 !~ /^2/) any_failed = ++failed[name]

      sub(/ (after|with) [0-9]+ [0-9a-z ]+/, "", $8) # one cause in one way, without its times and sizes
      if (known && $7 != "") what = "answers came from a rehearsal (SPLIT), not from the cluster: set GATEWAY to its gateway"
      else if ($3 == "000") what = "requests failed: no answer (" $8 ")"
      else if ($2) what = "requests failed: an answer cut short (" $8 ")" from
      else if ($3 !~ /^2/) what = "requests failed: status " $3 from
      else if (name == "") what = "answers name no revision, neither by X-Revision nor by their text"
      if (what && !times[what]++) problems[++kinds] = what

      cure = $2 == 60 ? "set CURL_CA_BUNDLE to a file of certificates to trust" : "set GATEWAY to an address that reaches the gateway from here"
      lost = $2 ? lost + $4 + ($3 == "000" ? 3 : 0) : 0 # seconds, and 3 for each request without an answer
      if (lost >= 15 && sent < N) exit
      undrawn += RATE && $4 < 1 / RATE ? 1 / RATE : $4 # seconds, at least
      if (columns && undrawn >= 0.1) draw()
    }

    END {
      if (N > 1) draw()
      if (sent < N) complain((lost >= 15 ? "gave up" : "interrupted") " after " sent + 0 " of " N " requests")
      for (i = 1; i <= kinds; i++) complain(times[problems[i]] " of " sent " " problems[i])
      if (lost && !answered) complain(cure)
      edited = text != generation # kubectl has said it after the last answer
      if (known && sent == N && edited) complain("the Service was edited meanwhile, or kubectl no longer gets it: the shares are not judged")
      for (i = 1; known && sent == N && !edited && i <= rows; i++) judge(order[i], weight[order[i]] / 100)
      if (bad || N == 1) exit bad
      print "\nok: no request failed" (known ? ", and each share fits its percent" : "; no cluster was asked for the percents")
      print N " answers cannot tell " untold "failures of 1 request in " int(N / 4.6) + 2 " from none"
    }

    # row finds the row of a name, or makes it in the order of the alphabet
    function row(name, tag, percent,  i) {
      if (name == "") return name
      if (rows >= 20 && !(name in weight)) name = "others"
      if (!(name in weight)) {
        for (i = rows++; i > 0 && order[i] > name; i--) order[i + 1] = order[i]
        order[i + 1] = name
      }
      weight[name] += percent
      tags[name] = tags[name] (tags[name] != "" && tag != "" ? "," : "") tag
      if (length(name) > name_width) name_width = length(name)
      if (length(tags[name]) > tag_width) tag_width = length(tags[name])
      return name
    }

    # named_by finds the one revision whose label is a word of the text
    function named_by(text,  words, i, name, found) {
      split(text, words, /[^0-9A-Za-z-]+/)
      for (i in words) {
        name = service "-" words[i]
        if (name in weight && name != found) found = found name
      }
      return !known ? "\"" substr(text, 1, 40) "\"" : found in weight ? found : ""
    }

    # draw prints the table, on a terminal over the one before
    function draw(  i, name, share, format, line) {
      format = "%-" name_width "s" (known ? "  %-" tag_width "s  %8s" : "%.0s%.0s") "  %8s  %5s"
      format = format (any_failed ? "  %6s" : "%.0s") (any_pods ? "  %4s" : "%.0s")
      printf "%s", up
      for (i = 0; i <= rows; i++) {
        name = order[i]
        share = answered ? answers[name] / answered : 0
        line = sprintf(format, name, tags[name], weight[name] + 0 "%", sprintf("%.1f%%", 100 * share), answers[name] + 0, failed[name] + 0, pods[name] + 0)
        if (i == 0) line = sprintf(format, "REVISION", "TAG", "EXPECTED", "OBSERVED", "COUNT", "FAILED", "PODS")
        else if (share >= 0.05 && (!columns || length(line) <= columns - 12)) line = line "  " substr("##########", 1, int(10 * share + 0.5))
        print columns ? substr(line, 1, columns) "\033[K" : line
      }
      fflush()
      if (columns) up = "\033[" rows + 1 "A\r"
      undrawn = 0
    }

    # judge fails an honest split less than once in 10,000 runs
    function judge(name, p,  least, most) {
      least = fewest(p)
      most = answered - fewest(1 - p)
      if (answers[name] < least || answers[name] > most)
        complain(name " got " answers[name] + 0 " of " answered " answers, and chance explains " least " to " most " for " 100 * p "%")
      if (least < most && !told[p]++)
        untold = untold sprintf("%.0f%% from %.1f%% to %.1f%%, or ", 100 * p, 100 * least / answered, 100 * most / answered)
    }

    # fewest finds the least count that chance explains for a share of p: the sum
    # of its tail is multiplied by 1-p for each answer, and grows where it is small
    function fewest(p,  count, left, term, sum) {
      if (p == 1) return answered
      term = sum = 1
      for (left = answered; left > 0; left--) {
        term *= 1 - p
        sum *= 1 - p
        for (; sum <= 0.0001 / (2 * rows); count++) sum += term *= (answered - count) / (count + 1) * p / (1 - p)
      }
      return count + 0
    }

    function complain(what) {
      print "run-test.sh: " what | "cat >&2"
      bad = 1
    }
  '
) <"$tmp/answers" &
wait $! || exit $?
