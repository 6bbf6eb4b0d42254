#!/usr/bin/env bash
# Sends requests through the ingress gateway and shows which revisions answer.
set -euo pipefail

SVC_NAME=${SVC_NAME:-stock-service-example}
NAMESPACE=${NAMESPACE:-default}
INGRESSGATEWAY=${INGRESSGATEWAY:-istio-ingressgateway}
INGRESS_NAMESPACE=${INGRESS_NAMESPACE:-istio-system}
GATEWAY=${GATEWAY:-}
HOST=${HOST:-}
TAG=${TAG:-}
WAIT=${WAIT:-60}
MARK='-- answer --' # begins curl's line about an answer
PROGRESS=''
if [[ -t 1 && -t 2 ]]; then PROGRESS=yes; fi

usage() {
  cat <<EOF
usage: run-test.sh [N]          through the route: traffic is split by percent
       latest-run-test.sh [N]   at the tag latest: the latest revision, whatever its percent

Without N, sends one request and prints the answer. With N, sends N requests
and shows each revision's share. Exits with 0 if the shares are what the
Service's traffic says and no request failed, with 1 if not, and with 2 if it
could not try.

  SVC_NAME, NAMESPACE                 the Knative Service ($SVC_NAME, $NAMESPACE)
  INGRESSGATEWAY, INGRESS_NAMESPACE   the gateway's Service ($INGRESSGATEWAY, $INGRESS_NAMESPACE)
  GATEWAY                             host[:port] of the gateway, instead of asking the cluster
  HOST                                Host header, instead of the Service's; with GATEWAY, no cluster is asked
  TAG                                 send to this tag's revision only
  WAIT                                seconds for the Service to become Ready after an apply ($WAIT)
EOF
}

die() {
  printf '%s: %s\n' "${0##*/}" "$*" >&2
  exit 2
}

# check_tools needs curl 7.84 for %header{} in --write-out.
check_tools() {
  local major minor
  command -v curl >/dev/null || die "curl is not installed"
  IFS=' .' read -r _ major minor _ <<<"$(curl --version)"
  ((major > 7 || major == 7 && minor >= 84)) || die "curl $major.$minor is too old: 7.84 or newer is needed"
  if [[ -z $GATEWAY || -z $HOST ]]; then
    command -v kubectl >/dev/null || die "kubectl is not installed; without it, set GATEWAY and HOST"
  fi
}

# ask_service waits until the Service's controllers are done with the last
# kubectl apply, and sets url and targets (revision,tag,percent,url each).
ask_service() {
  local template generation observed ready wanted actual condition previous='' since=$SECONDS
  local service="Service $SVC_NAME in namespace $NAMESPACE" deadline=$((SECONDS + WAIT))
  # shellcheck disable=SC2016 # the template's $latest, not the shell's
  template='
    {{- $latest := ""}}
    {{- with .status}}{{$latest = .latestCreatedRevisionName}}{{end}}
    {{- with .spec.template.metadata}}{{with .name}}{{$latest = .}}{{end}}{{end}}
    {{- .metadata.generation}}|
    {{- range .spec.traffic}}{{or .revisionName $latest}},{{or .tag ""}},{{or .percent 0}} {{end}}|
    {{- with .status}}
      {{- .observedGeneration}}|
      {{- range .traffic}}{{.revisionName}},{{or .tag ""}},{{or .percent 0}} {{end}}|
      {{- range .traffic}}{{.revisionName}},{{or .tag ""}},{{or .percent 0}},{{or .url ""}} {{end}}|
      {{- or .url ""}}|
      {{- range .conditions}}{{if eq .type "Ready"}}{{.status}}|{{or .reason ""}}: {{printf "%q" (or .message "")}}{{end}}{{end}}
    {{- end}}
  {{- "\n"}}'
  while true; do
    kubectl get ksvc "$SVC_NAME" --namespace "$NAMESPACE" --request-timeout=20s \
      --output "go-template=$template" >"$tmp/service" 2>"$tmp/errors" || explain_no_service "$service"
    IFS='|' read -r generation wanted observed actual targets url ready condition <"$tmp/service"
    if [[ $generation != "$observed" ]]; then ready=Unknown; fi
    if [[ $ready == True && $actual == "$wanted" ]]; then return; fi

    # a failure or a traffic from before the last apply can linger for a
    # moment, even with the observed generation: it counts after 2 s
    if [[ $ready$actual != "$previous" ]]; then
      previous=$ready$actual
      since=$SECONDS
    fi
    if ((SECONDS - since >= 2)); then
      case $ready in
        True) return ;;
        False) die "$service is not Ready: $(told "$condition")" ;;
      esac
    fi
    ((SECONDS < deadline)) || die "$service did not become Ready within $WAIT s: $(told "$condition")"
    sleep 0.3
  done
}

explain_no_service() {
  case $(cat "$tmp/errors") in
    *'(NotFound)'*) die "there is no $1: kubectl apply -f revision-v1.yaml, or set SVC_NAME and NAMESPACE" ;;
    *'have a resource type "ksvc"'*) die "the cluster has no Knative Serving: see https://knative.dev/docs/install" ;;
    *) die "kubectl cannot ask the cluster: $(kubectl_error)" ;;
  esac
}

# told prints a condition, "reason: message", whose message the template wrote
# as a Go string to keep it on one line.
told() {
  local condition=$1 quote='"'
  condition=${condition/: $quote/: }
  condition=${condition%"$quote"}
  condition=${condition//\\$quote/$quote}
  case $condition in
    RevisionMissing*) condition+=" Apply the files in order: a skipped one's revision is missing." ;;
  esac
  echo "$condition"
}

# kubectl_error prints the last of kubectl's errors; it repeats some before.
kubectl_error() {
  tail -n 1 "$tmp/errors" | sed 's/^error: //'
}

# pick_host sets HOST from the route's URL, or the tag's, and for a tag leaves
# only its revision in targets.
pick_host() {
  local target revision tag tag_url tags=''
  if [[ -n $TAG ]]; then
    url=''
    for target in $targets; do
      IFS=, read -r revision tag _ tag_url <<<"$target"
      tags+=${tag:+ $tag}
      if [[ $tag == "$TAG" ]]; then
        url=$tag_url
        targets="$revision,$tag,100,$tag_url"
      fi
    done
    [[ -n $url ]] || die "Service $SVC_NAME has no tag $TAG in its traffic (it has:${tags:- none}): kubectl apply -f revision-v2.yaml"
  fi
  HOST=${HOST:-${url#*://}}
}

# ask_gateway sets GATEWAY from the gateway's Service: its load balancer's
# address, or else a node's with the nodePort.
ask_gateway() {
  local template kind addresses node_port service="Service $INGRESSGATEWAY in namespace $INGRESS_NAMESPACE"
  local found='' balancer='' port='' node=''
  template='
    {{- range .items}}
      {{- if eq .kind "Node"}}node|
        {{- range .status.addresses}}{{if eq .type "InternalIP"}}{{.address}} {{end}}{{end}}|{{"\n"}}
      {{- else if eq .metadata.name "'$INGRESSGATEWAY'"}}gateway|
        {{- range .status.loadBalancer.ingress}}{{or .ip .hostname}} {{end}}|
        {{- range .spec.ports}}{{if eq .port 80}}{{or .nodePort ""}}{{end}}{{end}}{{"\n"}}
      {{- end}}
    {{- end}}'
  # it fails for a user who may not list nodes, and still prints the Service
  kubectl get services,nodes --namespace "$INGRESS_NAMESPACE" --request-timeout=20s \
    --output "go-template=$template" >"$tmp/gateway" 2>"$tmp/errors" || true
  while IFS='|' read -r kind addresses node_port; do
    case $kind in
      gateway) found=yes balancer=${addresses%% *} port=$node_port ;;
      node) node=${node:-${addresses%% *}} ;;
    esac
  done <"$tmp/gateway"

  if [[ -n $balancer ]]; then
    GATEWAY=$(in_url "$balancer")
  elif [[ -n $node && -n $port ]]; then
    GATEWAY=$(in_url "$node"):$port
  elif [[ -n $found ]]; then
    die "$service has no address to reach it from here: run \"minikube tunnel\", or" \
      "\"kubectl port-forward --namespace $INGRESS_NAMESPACE service/$INGRESSGATEWAY 8080:80\" and set GATEWAY=localhost:8080"
  elif [[ -s $tmp/errors ]]; then
    die "kubectl cannot ask for $service: $(kubectl_error)"
  else
    die "there is no $service: set INGRESSGATEWAY and INGRESS_NAMESPACE to the gateway's (Kourier's: kourier, kourier-system)"
  fi
}

# in_url puts an IPv6 address into brackets.
in_url() {
  case $1 in
    *:*) echo "[$1]" ;;
    *) echo "$1" ;;
  esac
}

# send makes $1 requests with one curl, and prints each answer's body and then
# a line: MARK|status|revision|what went wrong.
send() {
  local i
  for ((i = 0; i < $1; i++)); do
    echo "url = http://$GATEWAY/"
  done | curl --disable --config - --silent --no-buffer --header "Host: $HOST" \
    --connect-timeout 3 --max-time 10 \
    --write-out "\n$MARK|%{http_code}|%header{x-revision}|%{errormsg}\n" || true # what failed is in the lines
}

# watch_answers passes answers on, counts them up to $1 on a terminal, and
# ends when nothing answers any more.
watch_answers() {
  local line answers=0 silent=0
  while IFS= read -r line; do
    printf '%s\n' "$line"
    case $line in
      "$MARK|000|"*) silent=$((silent + 1)) ;;
      "$MARK|"*) silent=0 ;;
      *) continue ;;
    esac
    answers=$((answers + 1))
    if [[ -n $PROGRESS ]]; then printf '\r%d of %d' "$answers" "$1" >&2; fi
    if ((silent == 5)); then break; fi
  done
  if [[ -n $PROGRESS ]]; then printf '\r\033[K' >&2; fi
}

# tally counts answers by revision, prints the shares of $1 requests, and fails
# with a reason on standard error if they are not what the traffic says.
tally() {
  PROGRAM=${0##*/} MARK=$MARK TAG=$TAG TARGETS=$targets REQUESTS=$1 awk '
    BEGIN {
      FS = "|"
      known = split(ENVIRON["TARGETS"], list, " ")
      for (i = 1; i <= known; i++) {
        split(list[i], target, ",")
        add_row(target[1])
        weight[target[1]] += target[3]
        if (target[2] != "") tags[target[1]] = tags[target[1]] (tags[target[1]] == "" ? "" : ",") target[2]
      }
    }
    index($0, ENVIRON["MARK"] "|") == 1 {
      sent++
      if ($2 == 200) {
        answered++
        count[name = $3 != "" ? $3 : named_by(body)]++
        if (!known) add_row(name)
        else if (!(name in row)) { unexpected[name]; strangers++ }
      } else {
        failures++
        failed[failure = $2 == "000" ? "no answer (" $4 ")" : $2 " from " ($3 != "" ? $3 : "the gateway")]++
      }
      body = ""
      next
    }
    body == "" { body = $0 }
    END {
      print_table()
      print ""
      fflush()
      for (what in failed) printf "failed: %d x %s\n", failed[what], what | "sort"
      for (name in unexpected) printf "unexpected: %d x %s\n", count[name], name | "sort"
      close("sort")
      judge()
      if (bad) exit 1
      print "ok: no request failed" (known ? ", and each share is within chance of its percent" : "; no cluster was asked which shares to expect")
    }

    # add_row keeps the order that names come in, or without a cluster sorts them
    function add_row(name,  i) {
      if (name in row) return
      row[name]
      for (i = rows++; i > 0 && !known && order[i] > name; i--) order[i + 1] = order[i]
      order[i + 1] = name
    }

    # named_by finds the revision of an answer without X-Revision: its name ends
    # in the label that the text has
    function named_by(text,  label, name) {
      label = text
      if (sub(/^Welcome to the /, "", label) && sub(/ app! *$/, "", label)) {
        for (name in row) if (substr(name, length(name) - length(label)) == "-" label) return name
        return label
      }
      return "text \"" substr(text, 1, 60) "\""
    }

    function print_table(  i, name, share, bar) {
      name_width = length("REVISION")
      tag_width = length("TAG")
      for (i = 1; i <= rows; i++) {
        if (length(order[i]) > name_width) name_width = length(order[i])
        if (length(tags[order[i]]) > tag_width) tag_width = length(tags[order[i]])
      }
      print_row("REVISION", "TAG", "EXPECTED", "OBSERVED", "COUNT", "")
      for (i = 1; i <= rows; i++) {
        name = order[i]
        share = answered ? 100 * count[name] / answered : 0
        bar = sprintf("%" int(share * 0.3 + 0.5) "s", "")
        gsub(/ /, "#", bar)
        print_row(name, tags[name], known ? weight[name] "%" : "-", sprintf("%.1f%%", share), count[name] + 0, bar)
      }
    }

    function print_row(name, tag, expected, observed, n, bar,  line) {
      line = sprintf("%-" name_width "s  %-" tag_width "s  %8s  %8s  %6s  %s", name, tag, expected, observed, n, bar)
      sub(/ +$/, "", line)
      print line
    }

    function judge(  i, p, off, bound) {
      if (sent < ENVIRON["REQUESTS"]) complain("gave up after " sent + 0 " of " ENVIRON["REQUESTS"] " requests: set GATEWAY to an address that reaches the gateway from here")
      if (failures) complain(failures " of " sent " requests failed, the last with " failure)
      if (strangers) complain(strangers " of " sent " answers came from no revision of this traffic")
      if (!known && ENVIRON["TAG"] != "" && rows > 1) complain(rows " revisions answered, and at a tag there is one")
      for (i = 1; known && answered && i <= rows; i++) {
        p = weight[order[i]] / 100
        off = 100 * (count[order[i]] / answered - p)
        bound = 100 * 4 * sqrt(p * (1 - p) / answered)
        if (off < -bound - 1e-9 || off > bound + 1e-9)
          complain(sprintf("%s got %.1f%%, and chance explains only %.1f%% to %.1f%%", order[i], 100 * p + off, at_least(100 * p - bound), at_most(100 * p + bound)))
      }
    }
    function at_least(x) { return x < 0 ? 0 : x }
    function at_most(x) { return x > 100 ? 100 : x }

    function complain(what) {
      print ENVIRON["PROGRAM"] ": " what | "cat >&2"
      bad = 1
    }
  '
}

main() {
  local answer newline=$'\n'
  if [[ ${1:-} == -h || ${1:-} == --help ]]; then
    usage
    return
  fi
  if (($# > 1)); then die "too many arguments: -h explains"; fi
  if (($# == 1)) && [[ ! $1 =~ ^[1-9][0-9]{0,4}$ ]]; then
    die "N is a number of requests from 1 to 99999, not \"$1\""
  fi
  check_tools

  tmp=$(mktemp -d)
  trap 'rm -rf "$tmp"' EXIT
  targets=''
  if [[ -z $GATEWAY || -z $HOST ]]; then
    ask_service
    pick_host
  fi
  if [[ -z $GATEWAY ]]; then ask_gateway; fi

  if (($# == 0)); then
    answer=$(send 1)
    printf '%s' "${answer%"$newline$MARK"*}"
    tally 1 <<<"$answer" >/dev/null
    return
  fi
  echo "$1 requests to $HOST through $GATEWAY"
  echo
  send "$1" | watch_answers "$1" | tally "$1"
}

main "$@"
