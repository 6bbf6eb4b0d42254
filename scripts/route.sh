# Finds what run-test.sh sends requests to, and the traffic to expect there. It leaves url, GATEWAY, advice (for where
# nothing answers), cluster (if one is asked) and prefix (of revisions' names), and $tmp/expected for tally.awk.
# shellcheck shell=bash disable=SC2034,SC2154 # it reads the options of run-test.sh

: "${INGRESSGATEWAY:=istio-ingressgateway}" "${INGRESS_NAMESPACE:=istio-system}"
edited="the Service has changed: the shares are not judged"
rollout="a gradual rollout is in progress: the shares are not judged"

find_route() {
  local share sum=0
  [[ -z $tag || -z $DOMAIN_NAME ]] || die "set DOMAIN_NAME to the tag's host (rehearsed: $tag.localhost), without --tag"
  url=http://
  advice="set GATEWAY to an address of the gateway, with http:// where it takes no https"
  if [[ -z $GATEWAY || -z $DOMAIN_NAME ]]; then
    [[ -z $expect ]] || die "--expect is for no cluster: set GATEWAY and DOMAIN_NAME"
    cluster=yes
    wait_for_service
  else
    prefix=$SVC_NAME-
    failures_of=${failures_of#"$prefix"}
    for share in ${expect//,/ }; do
      share=${share#"$prefix"}
      sum=$((sum + ${share#*=}))
      echo "traffic|${share%=*}||${share#*=}"
    done >"$tmp/expected"
    [[ -z $expect || $sum == 100 ]] || die "the percentages of --expect $expect add up to $sum: see --help"
  fi
  if [[ -n $DOMAIN_NAME ]]; then url=${url%%//*}//$(tr '[:upper:]' '[:lower:]' <<<"$DOMAIN_NAME"); fi
  if [[ -z $GATEWAY ]]; then find_gateway; fi
  if [[ $GATEWAY == *://* ]]; then url=${GATEWAY%%//*}//${url#*//} GATEWAY=${GATEWAY#*//} GATEWAY=${GATEWAY%/}; fi
  if [[ $GATEWAY == *:*:* && $GATEWAY != \[* ]]; then GATEWAY="[$GATEWAY]"; fi
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
    {{- range .status.traffic}}has {{or .revisionName "-"}} {{or .tag "-"}} {{or .percent 0}} {{or .url "-"}}
    {{- "\n"}}{{end}}
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
      Ready) ready=$a reason="${b#-}${c:+: $c}${d:+ $d}" ;;
    esac
  done <"$tmp/kubectl"
  if [[ -n $tag ]]; then url=$tag_url; fi
  reason=${reason:-$latest is not ready}
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
in_words() {
  awk 'NF { printf "%s%s%% for %s%s", (n++ ? ", " : ""), $3, $1, ($2 == "-" ? "" : " with the tag " $2) }' <<<"$1"
}

# wait_for_service waits until what was applied is in force, or will not be, and notes the traffic.
wait_for_service() {
  local told='' answered='' problem=''
  service="Service $SVC_NAME in namespace $NAMESPACE"
  while :; do
    if get_service; then
      answered=$SECONDS
    elif [[ -z $answered ]] || ((SECONDS > answered + 5)); then
      die "kubectl cannot get $service"
    fi
    if [[ -n $settled && $ready != False || $reason == RolloutInProgress* ]]; then break; fi
    # not at once: even a failure can pass, for some seconds it is that of the apply before
    if ((SECONDS >= wait)) || [[ $ready == False && $reason != RevisionMissing* && $SECONDS -ge 5 ]]; then
      explain
      break
    fi
    if ((SECONDS >= 3)) && [[ $reason != "$told" ]]; then
      told=$reason
      say "waiting for $service: $told"
    fi
    sleep 0.3
  done
  [[ -z $tag || -n $url || -z $has ]] || die "$service has no tag $tag: apply a file that gives it one (scripts/pin.sh adds latest)"
  [[ -n $url ]] || die "$service is not Ready after $SECONDS s: $reason"
  if [[ -z $settled && $reason == RolloutInProgress* ]]; then
    problem=$rollout
  elif [[ -z $settled ]]; then
    problem="the shares are not judged, since $service is not as its spec asks: $reason"
  elif [[ $tag == latest && $has != *"$latest latest "* ]]; then
    problem="the tag latest is not at the latest revision, $latest"
  elif [[ $ready == False ]]; then
    say "the route is as its spec asks, but $service is not Ready: $reason"
  fi
  note expected
}

# explain adds to the reason what to do, and what the pods of the latest revision wait for.
explain() {
  case $reason in
    IngressNotConfigured* | Uninitialized*)
      has='' # what was served before may be served still
      reason+=" (the gateway has not confirmed it: look at the pods of net-istio, net-kourier or what yours has)" ;;
    RevisionMissing*) reason+=" (no percentage moves while one is for a revision that is not there or not ready)" ;;
    RevisionNameTaken*) reason+=" (no percentage moves until the template has a name of its own)" ;;
    TrafficNotMigrated*) reason+=" (list each revision once)" ;;
  esac
  get pods --namespace "$NAMESPACE" --selector "serving.knative.dev/revision=$latest" --output 'go-template=
    {{- range .items}}{{range .status.containerStatuses}}{{range .state}}
      {{- if .reason}}: {{.reason}} {{or .message ""}}{{end}}
    {{- end}}{{end}}{{end}}' || return 0
  reason+=$(tr '\n' ' ' <"$tmp/kubectl")
}

# find_gateway finds the address of the gateway's load balancer, or an external IP, and its port for the URL.
find_gateway() {
  local kind value name default=80 port='' addresses=() gateway="Service $INGRESSGATEWAY in namespace $INGRESS_NAMESPACE"
  if [[ $url == *".$NAMESPACE.svc."* ]]; then
    [[ -n ${KUBERNETES_SERVICE_HOST:-} ]] || die "$url is for the inside of the cluster: start this in a pod, or set" \
      "GATEWAY to the gateway for the inside (knative-local-gateway of Istio, kourier-internal of Kourier)"
    GATEWAY=${url#*//}
    return
  fi
  get service "$INGRESSGATEWAY" --namespace "$INGRESS_NAMESPACE" --output 'go-template=
    {{- range .status.loadBalancer.ingress}}address {{or .ip .hostname}}{{"\n"}}{{end}}
    {{- range .spec.externalIPs}}address {{.}}{{"\n"}}{{end}}
    {{- range .spec.ports}}port {{.port}} {{or .name "-"}}{{"\n"}}{{end}}' ||
    die "kubectl cannot get the gateway's $gateway (of Kourier: INGRESSGATEWAY=kourier INGRESS_NAMESPACE=kourier-system)"
  if [[ $url == https:* ]]; then default=443; fi
  while read -r kind value name; do
    case "$kind $port ${url%%:*} $name" in
      "address  "*) if [[ $value == *:* ]]; then addresses+=("[$value]"); else addresses+=("$value"); fi ;;
      "port $default "*) ;;
      'port '*' http http2' | 'port  http http' | 'port  https https') port=$value ;;
      *) if [[ $value == "$default" ]]; then port=$value; fi ;;
    esac
  done <"$tmp/kubectl"
  ((${#addresses[@]})) || die "$gateway has no load balancer: run \"minikube tunnel\", or set GATEWAY to node:nodePort or" \
    "to http://localhost:8081 for \"kubectl port-forward -n $INGRESS_NAMESPACE service/$INGRESSGATEWAY 8081:${port:-80}\""
  advice="nothing answers there: kubectl get pods --namespace $INGRESS_NAMESPACE"
  if [[ $port == "$default" ]]; then port=''; fi
  for value in "${addresses[@]}"; do
    GATEWAY=$value${port:+:$port}
    if ((${#addresses[@]} == 1)) || connects; then return; fi
  done
}
connects() {
  local status=0
  curl -q --silent --noproxy '*' --connect-timeout 3 --max-time 3 --output /dev/null "http://$GATEWAY" || status=$?
  ((status != 6 && status != 7 && status != 28))
}

# note writes down the traffic that is expected.
note() {
  local revision name percent
  while read -r revision name percent; do
    if [[ -n $revision && (-z $tag || $name == "$tag") ]]; then echo "traffic|$revision|${name#-}|$percent"; fi
  done <<<"$has" >"$tmp/noted"
  if [[ -n $problem ]]; then echo "problem|$problem" >>"$tmp/noted"; fi
  mv "$tmp/noted" "$tmp/$1"
  noted=$state
}

# follow notes the traffic again when the Service is edited.
follow() {
  get_service && [[ $state != "$noted" ]] || return 0
  problem=$edited
  if [[ -z $settled && $reason == RolloutInProgress* ]]; then problem=$rollout; fi
  note changed
}

# confirm asks for the Service again: only where nobody has edited it can the shares be judged.
confirm() {
  local tries=0 start=$SECONDS
  until get_service; do
    if ((++tries >= 3 && SECONDS >= start + 5)); then
      echo "problem|the shares are not judged, since kubectl cannot get $service again: $(tail -n 1 "$tmp/errors")"
      return
    fi
    sleep 1
  done >>"$tmp/expected"
  if [[ $state != "$noted" ]]; then echo "problem|$edited" >>"$tmp/expected"; fi
}
