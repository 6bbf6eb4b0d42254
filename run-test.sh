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
  --parallel P           requests at the same time at most (8)
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

What stands behind -- goes to curl: --header @file, --data @file.

  SVC_NAME, NAMESPACE                 the Knative Service (stock-service-example, default)
  INGRESSGATEWAY, INGRESS_NAMESPACE   the gateway's Service (istio-ingressgateway, istio-system)
  GATEWAY, DOMAIN_NAME                the gateway's [scheme://]host[:port] and the route's
                                      host; with both, no cluster is asked
END
}

say() { printf 'run-test.sh: %s\n' "$*" >&2; }
die() { say "$@"; exit 2; }
check() { [[ $2 =~ ^($3)$ ]] || die "$1 is $4, not \"$2\": see --help"; }

read_options() {
  requests='' path=/ tag='' rate='' parallel=8 timeout=30 within='' wait=60 expect='' revision_header=X-Revision
  allow=0 failures_of='' fail_fast='' enough='' context='' curl_options=()
  local name share sum=0 seconds='0\.[0-9]*[1-9]|[1-9][0-9]{0,4}(\.[0-9]+)?' percent='(100|[1-9]?[0-9])'
  while (($#)); do
    case $1 in
      -h | --help) usage && exit ;;
      --) curl_options=("${@:2}") && break ;;
      --fail-fast) fail_fast=0.2 && shift && continue ;;
      --enough) enough=yes && shift && continue ;;
      --requests | --path | --tag | --rate | --parallel | --timeout | --within | --wait | --expect | --allow | --context) ;;
      --revision-header | --failures-of) ;;
      -*) die "there is no option $1: see --help" ;;
      *) if [[ -z $requests ]]; then set -- --requests "$@"; else die "N is $requests, and then \"$1\": see --help"; fi ;;
    esac
    [[ -n ${2:-} ]] || die "$1 needs a value: see --help"
    name=${1#--} && printf -v "${name//-/_}" %s "$2" && shift 2
  done
  check --requests "${requests:=1}" '[1-9][0-9]{0,4}' "a number of requests from 1 to 99999"
  check --path "$path" '/[^][{}[:space:]]*' "a path that begins with / and has no spaces, brackets or braces"
  check --rate "$rate" '([1-9][0-9]{0,3})?' "a number of requests per second from 1 to 9999"
  check --parallel "$parallel" '[1-9][0-9]?|1[0-9][0-9]|200' "a number of requests from 1 to 200"
  check --timeout "$timeout" "$seconds" "a number of seconds, as 30 or 0.5"
  check --within "$within" "($seconds)?" "a number of seconds, as 0.5"
  check --wait "$wait" '0|[1-9][0-9]{0,3}' "a number of seconds, as 60"
  check --revision-header "$revision_header" '[A-Za-z0-9_-]+' "the name of a header"
  check --allow "$allow" "$percent(\.[0-9]+)?" "a percentage, as 1 or 0.1"
  check --expect "$expect" "([^=, ]+=$percent(,[^=, ]+=$percent)*)?" "a list as v1=40,v2=60"
  for share in ${expect//,/ }; do sum=$((sum + ${share#*=})); done
  [[ -z $expect || $sum == 100 ]] || die "the percentages of --expect $expect add up to $sum: see --help"
}

# prepare refuses what curl would refuse, and makes a folder that goes in the end, in whatever way it ends.
prepare() {
  local found
  if ((parallel > ${rate:-parallel})); then parallel=$rate; fi
  if [[ -n $rate ]]; then curl_options+=(--rate "$((rate * 3600 / parallel))/h"); fi
  found=$({ hash awk && curl -q ${curl_options[@]+"${curl_options[@]}"} --no-progress-meter --output /dev/null \
    --write-out '%{exitcode}' file:///dev/null; } 2>&1 || true)
  [[ $found == *0 && $found != *Warning:* ]] || die "install awk and curl 7.75 or newer, for --rate 7.84: ${found%%$'\n'*}"
  tmp=$(mktemp -d "${TMPDIR:-/tmp}/run-test.XXXXXX") || die "cannot make a folder there: set TMPDIR to another"
  trap '((BASH_SUBSHELL)) || finish' EXIT # a subshell inherits it
  trap 'stop 129' HUP && trap 'stop 130' INT && trap 'stop 131' QUIT && trap 'stop 143' TERM
}
stop() { trap '' HUP INT QUIT TERM && exit "$1"; } # a second signal would end what the first one starts
finish() {
  { kill $(jobs -rp) && wait; } 2>/dev/null || true
  if [[ -n $sending ]]; then collect && tally verdict interrupted || true; fi
  rm -rf "$tmp"
}

# get asks kubectl, in the background, since bash heeds a signal only while it waits. Before requests are sent, kubectl
# has the person's terminal: it may have to log in.
get() {
  set -- ${context:+--context "$context"} get "$@" --request-timeout=10s
  if [[ -n $sending ]]; then kubectl "$@" >"$tmp/kubectl" 2>"$tmp/errors" & else kubectl "$@" >"$tmp/kubectl" <&0 & fi
  wait $!
}

# get_service gets the Service as lines, in which a dash stands for what is not there.
get_service() {
  get ksvc "$SVC_NAME" --namespace "$NAMESPACE" --output 'go-template=
    {{- "generation"}} {{.metadata.generation}} {{or .status.observedGeneration 0}}{{"\n"}}
    {{- "url"}} {{or .status.url "-"}} {{or .status.latestCreatedRevisionName "-"}}{{"\n"}}
    {{- range .spec.traffic}}wanted {{or .revisionName "-"}} {{or .tag "-"}} {{or .percent 0}}{{"\n"}}{{end}}
    {{- range .status.traffic}}has {{or .revisionName "-"}} {{or .tag "-"}} {{or .percent 0}} {{or .url "-"}}{{"\n"}}{{end}}
    {{- range .status.conditions}}
      {{- if eq .type "RoutesReady" "Ready"}}{{.type}} {{.status}} {{or .reason "-"}} {{or .message ""}}{{"\n"}}{{end}}
    {{- end}}' && read_service
}

# read_service finds what is wanted, what the route has, and whether that is so (settled).
read_service() {
  local kind a b c d observed='' route='' idle=' ' moves='' shares='' wanted_shares='' tag_url=''
  generation='' url='' latest='' wanted='' has='' ready='' reason='' settled=''
  while read -r kind a b c d; do
    case $kind in
      generation) generation=$a observed=$b ;;
      url) url=${a#-} latest=$b ;;
      wanted)
        if [[ $a == - && ($c != 0 || $b == "$tag") ]]; then moves=yes; fi # in a gradual rollout
        if [[ $a == - ]]; then a=$latest; fi
        if [[ $c == 0 ]]; then idle+="$b "; else wanted_shares+="$a $b $c "; fi
        wanted+="$a $b $c"$'\n'
        ;;
      has)
        if [[ $b == "$tag" ]]; then tag_url=${d#-}; fi
        if [[ -z $tag && $idle == *" $b "* ]]; then c=0; fi # in a gradual rollout, a share of the tag's own requests
        if [[ $c != 0 ]]; then shares+="$a $b $c "; fi
        has+="$a $b $c"$'\n'
        ;;
      RoutesReady) route=$a ;;
      Ready) ready=$a reason="${b#-}: $c $d" ;;
      *) reason+=" $kind $a $b $c $d" ;; # more lines of the message
    esac
  done <"$tmp/kubectl"
  if [[ -n $tag ]]; then url=$tag_url; fi
  if [[ $reason != *[!:\ ]* ]]; then reason="$latest is not ready"; fi
  if [[ $generation != "$observed" ]]; then
    ready=Unknown reason="the last edit is not seen yet"
  elif [[ $reason == RolloutInProgress* && -z $moves && $shares == "$wanted_shares" ]]; then
    settled=yes has=$wanted
  elif [[ -n $has && $has == "$wanted" && ($ready == True || $route == True && $ready == False) ]]; then
    settled=yes
  elif [[ $ready == True ]]; then
    reason="its route has $(in_words "$has"), and its spec asks for $(in_words "$wanted")"
  fi
  state="$generation $has"
}
in_words() { awk '{ printf "%s%s%% for %s%s", (NR > 1 ? ", " : ""), $3, $1, ($2 == "-" ? "" : " with the tag " $2) }' <<<"${1%?}"; }

# wait_for_service waits until what was applied is in force, or will not be.
wait_for_service() {
  local told='' answered=''
  service="Service $SVC_NAME in namespace $NAMESPACE"
  while :; do
    if get_service; then
      answered=$SECONDS
    elif [[ -z $answered ]] || ((SECONDS > answered + 5)); then
      die "kubectl cannot get $service"
    fi
    if [[ -n $settled && $ready != False || $reason == RolloutInProgress* ]]; then break; fi
    # not at once: even a failure can pass, for some seconds it is that of the apply before
    if ((SECONDS >= wait)) || [[ $ready == False && $reason != RevisionMissing* && $SECONDS -ge 5 ]]; then break; fi
    if ((SECONDS >= 3)) && [[ $reason != "$told" ]]; then told=$reason && say "waiting for $service: $told"; fi
    sleep 0.3
  done
  noted=$state
  if [[ -z $settled || $ready == False ]]; then explain; fi
  [[ -z $tag || -n $url || -z $has ]] || die "$service has no tag $tag: apply a file that gives it one"
  [[ -n $url ]] || die "$service is not Ready after $SECONDS s: $reason"
  if [[ -n $settled && $ready == False ]]; then say "the route is as it should be, but $service is not Ready: $reason"; fi
  if [[ -z $settled ]]; then
    problem="the shares are not judged, since $service is not as its spec asks: $reason"
    if [[ $reason == RolloutInProgress* ]]; then problem=$rollout; fi
  elif [[ $tag == latest && $has != *"$latest latest "* ]]; then
    problem="the tag latest is not at the latest revision, $latest"
  fi
}

# explain adds to the reason what to do, and what the pods of the latest revision wait for.
explain() {
  case $reason in
    IngressNotConfigured* | Uninitialized*) # what was served before may be served still
      has='' reason+=": the gateway has not confirmed it, look at the pods of net-istio, net-kourier or what yours has" ;;
    RevisionMissing*) reason+=": no percentage moves while one is for a revision that is not there or not ready" ;;
    RevisionNameTaken*) reason+=": no percentage moves until the template has a name of its own" ;;
    TrafficNotMigrated*) reason+=": list each revision once" ;;
    RolloutInProgress*) return ;;
  esac
  get pods --namespace "$NAMESPACE" --selector "serving.knative.dev/revision=$latest" --output 'go-template=
    {{- range .items}}{{range .status.containerStatuses}}{{range .state}}
      {{- if .reason}}: {{.reason}} {{or .message ""}}{{end}}
    {{- end}}{{end}}{{end}}' && reason+=$(tr '\n' ' ' <"$tmp/kubectl") || true
}

# find_gateway finds the address of the gateway's load balancer, or an external IP, and its port for the URL.
find_gateway() {
  local kind value name default=80 port='' gateway="Service $INGRESSGATEWAY in namespace $INGRESS_NAMESPACE" addresses=()
  if [[ -n $DOMAIN_NAME ]]; then url=${url%%//*}//$(tr '[:upper:]' '[:lower:]' <<<"$DOMAIN_NAME"); fi
  if [[ $GATEWAY == *://* ]]; then url=${GATEWAY%%//*}//${url#*//} GATEWAY=${GATEWAY#*//} GATEWAY=${GATEWAY%/}; fi
  if [[ -z $GATEWAY && $url == *".$NAMESPACE.svc."* ]]; then
    [[ -n ${KUBERNETES_SERVICE_HOST:-} ]] || die "$url is for the inside of the cluster: start this in a pod, or set" \
      "GATEWAY to the gateway for the inside (knative-local-gateway of Istio, kourier-internal of Kourier)"
    GATEWAY=${url#*//}
  fi
  advice="set GATEWAY to an address of the gateway, with http:// where it takes no https"
  if [[ -n $GATEWAY ]]; then GATEWAY=$(bracketed "$GATEWAY") && return; fi

  get service "$INGRESSGATEWAY" --namespace "$INGRESS_NAMESPACE" --output 'go-template=
    {{- range .status.loadBalancer.ingress}}address {{or .ip .hostname}}{{"\n"}}{{end}}
    {{- range .spec.externalIPs}}address {{.}}{{"\n"}}{{end}}
    {{- range .spec.ports}}port {{.port}} {{or .name "-"}}{{"\n"}}{{end}}' ||
    die "kubectl cannot get the gateway's $gateway (for Kourier set INGRESSGATEWAY=kourier INGRESS_NAMESPACE=kourier-system)"
  if [[ $url == https:* ]]; then default=443; fi
  while read -r kind value name; do
    if [[ $kind == address ]]; then addresses+=("$(bracketed "$value")"); fi
    case "$port ${url%%:*} $name" in
      "$default "*) continue ;;
      *' http http2' | ' http http' | ' https https') port=$value ;;
      *) if [[ $value == "$default" ]]; then port=$value; fi ;;
    esac
  done <"$tmp/kubectl"
  ((${#addresses[@]})) || die "$gateway has no load balancer: run \"minikube tunnel\", or set GATEWAY to node:nodePort" \
    "or to http://localhost:8081 for \"kubectl port-forward -n $INGRESS_NAMESPACE service/$INGRESSGATEWAY 8081:${port:-80}\""
  advice="nothing answers there: kubectl get pods --namespace $INGRESS_NAMESPACE"
  for value in "${addresses[@]}"; do
    GATEWAY=$value:$port && GATEWAY=${GATEWAY%:"$default"} GATEWAY=${GATEWAY%:}
    if ((${#addresses[@]} == 1)) || connects; then return; fi
  done
}
bracketed() { if [[ $1 == *:*:* && $1 != \[* ]]; then echo "[$1]"; else echo "$1"; fi; }
connects() {
  local status=0
  curl -q --silent --noproxy '*' --connect-timeout 3 --max-time 3 --output /dev/null "http://$GATEWAY" || status=$?
  ((status != 6 && status != 7 && status != 28))
}

# send starts curls that share the requests, by a fragment that only counts. A line with the mark ends each answer.
send() {
  local i start body=/dev/null
  sending=yes mark="answer $RANDOM$RANDOM"
  if ((requests == 1)); then body=$tmp/body; else echo "$requests requests to $url$path through $GATEWAY" && echo; fi
  echo "silent|0|" >"$tmp/answers"
  for ((i = 0; i < parallel; i++)); do
    start=$((i * 1000 / ${rate:-1000000}))
    if [[ -n $rate ]] && ((i)); then sleep "$(seconds $((1000 / rate)))"; fi
    curl --disable ${curl_options[@]+"${curl_options[@]}"} --silent --noproxy '*' --connect-to "::$GATEWAY" --http1.1 \
      --header 'Connection: close' --connect-timeout 3 --max-time "$timeout" --output "$body" --dump-header - \
      --write-out "%{stderr}\n$mark|%{exitcode}|%{http_code}|%{time_connect}|%{time_total}|%{errormsg}|.\n" \
      "$url$path#[1-$(((requests + i) / parallel))]" >"$tmp/curl.$i" 2>&1 &
    curls+=($!)
    echo "curl|$i|0|$(seconds $start)" >>"$tmp/answers"
  done
}
seconds() { printf '%d.%03d' $(($1 / 1000)) $(($1 % 1000)); }

# expected prints the traffic that is expected, for the tally.
expected() {
  local revision name percent
  while read -r revision name percent; do
    if [[ -n $revision && (-z $tag || $name == "$tag") ]]; then echo "traffic|$revision|${name#-}|$percent"; fi
  done <<<"$has"
  if [[ -n $problem ]]; then echo "problem|$problem"; fi
}

# collect counts what the curls have written since the last time.
collect() {
  local kind i bytes
  while IFS='|' read -r kind i bytes _; do
    if [[ $kind == curl ]]; then printf '%s curl|%s\n' "$mark" "$i" && tail -c "+$((bytes + 1))" "$tmp/curl.$i" && echo; fi
  done <"$tmp/answers" | LC_ALL=C awk -v mark="$mark" -v header="$revision_header" -v prefix="$prefix" \
    -v timeout="$timeout" -v within="$within" -v pace="$pace" -v alone="$alone" -v changed="${1:-}" \
    -f "$scripts/answers.awk" "$tmp/answers" - >"$tmp/answers.new" && mv "$tmp/answers.new" "$tmp/answers"
}

tally() {
  LC_ALL=C awk -v want="$1" -v ended="${2:-gave up}" -v requests="$requests" -v failures_of="$failures_of" \
    -v allow="$allow" -v cluster="$asks" -v header="$revision_header" -v within="$within" -v advice="$advice" \
    -v lines="$lines" -v columns="$columns" -f "$scripts/tally.awk" "$tmp/expected" "$tmp/answers"
}

# every does something again and again, in the background. At Ctrl-C it is the script that ends it.
every() {
  trap '' HUP INT QUIT && trap 'kill $!; exit' TERM
  while sleep "$1" & wait $!; do "${@:2}" || true; done
}

# follow notes when the Service is edited.
follow() {
  get_service && [[ $state != "$noted" ]] || return 0
  noted=$state problem=$edited
  if [[ -z $settled && $reason == RolloutInProgress* ]]; then problem=$rollout; fi
  expected >"$tmp/next" && mv "$tmp/next" "$tmp/changed"
}

# refresh counts, draws the table, and ends the curls when nothing answers or the failures decide.
refresh() {
  local silent
  if [[ -f $tmp/changed ]]; then collect changed && mv "$tmp/changed" "$tmp/expected"; else collect; fi
  IFS='|' read -r _ silent _ <"$tmp/answers"
  if ((silent >= 5)); then kill "${curls[@]}"; fi
  if [[ $columns == 0 && -z $fail_fast ]] || tally table || [[ -z $fail_fast ]]; then return; fi
  : >"$tmp/decided" && kill "${curls[@]}"
}

# confirm asks for the Service again: only where nobody has edited it can the shares be judged.
confirm() {
  local tries=0 start=$SECONDS
  until get_service; do
    if ((++tries >= 3 && SECONDS >= start + 5)); then
      problem="the shares are not judged, since kubectl cannot get $service: $(sed /^Warning/d "$tmp/errors" | tail -n 1)"
      break
    fi
    sleep 1
  done
  if [[ $state != "$noted" ]]; then problem=$edited; fi
  if [[ -n $problem ]]; then echo "problem|$problem" >>"$tmp/expected"; fi
}

main() {
  SVC_NAME=${SVC_NAME:-stock-service-example} NAMESPACE=${NAMESPACE:-default} GATEWAY=${GATEWAY:-} DOMAIN_NAME=${DOMAIN_NAME:-}
  INGRESSGATEWAY=${INGRESSGATEWAY:-istio-ingressgateway} INGRESS_NAMESPACE=${INGRESS_NAMESPACE:-istio-system}
  scripts=$(dirname "$(readlink -f "$0")")/scripts
  asks=yes prefix='' url=http:// has='' problem='' sending='' ended='gave up' curls=() watchers=() lines=0 columns=0
  edited="the Service has changed: the shares are not judged"
  rollout="a gradual rollout is in progress: the shares are not judged"

  read_options "$@"
  [[ -z $tag || -z $DOMAIN_NAME ]] || die "set DOMAIN_NAME to the host of the tag (rehearsed: $tag.localhost), without --tag"
  if [[ -n $GATEWAY && -n $DOMAIN_NAME ]]; then asks='' prefix=$SVC_NAME-; fi
  [[ -z $expect || -z $asks ]] || die "--expect is for where no cluster is asked: set GATEWAY and DOMAIN_NAME"
  prepare
  if [[ -n $asks ]]; then
    wait_for_service
  else
    failures_of=${failures_of#"$prefix"}
    for share in ${expect//,/ }; do share=${share#"$prefix"} && has+="${share%=*} - ${share#*=}"$'\n'; done
  fi
  find_gateway
  expected >"$tmp/expected" && : >"$tmp/answers"
  if [[ -n $enough ]]; then enough=$(tally enough) && requests=$((enough > requests ? enough : requests)); fi
  if ((parallel > requests)); then parallel=$requests; fi
  alone=$((requests == 1)) pace=$(seconds $((1000 * parallel / ${rate:-1000000})))
  if [[ -t 1 && ${TERM:-dumb} != dumb ]]; then read -r lines columns <<<"$(stty size 2>&- </dev/tty || echo 0 0)"; fi

  send
  if ((requests > 1)); then
    every "${fail_fast:-1}" refresh 2>/dev/null &
    watchers+=($!)
    if [[ -n $asks ]]; then every 1 follow 2>/dev/null & watchers+=($!); fi
  fi
  wait "${curls[@]}" 2>/dev/null || true
  { kill ${watchers[@]+"${watchers[@]}"} && wait; } 2>/dev/null || true
  collect
  if [[ -f $tmp/decided ]]; then ended=stopped; elif [[ -n $asks ]]; then confirm; fi
  sending=''
  if [[ -f $tmp/body ]]; then cat "$tmp/body"; fi
  tally verdict "$ended"
}

main "$@"
