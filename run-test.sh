#!/usr/bin/env bash
# Sends requests through the ingress gateway and shows which revisions answer.
#
# usage: run-test.sh [--tag TAG] [--path PATH] [N]
#
# Prints one answer, or sends N requests, each on a connection of its own, and
# shows each revision's share. Exits with 0 if no request failed and the shares
# fit the Service's percents, with 1 if not, or if somebody edited the Service
# meanwhile, and with 2 if it could not try.
#
#   SVC_NAME, NAMESPACE                 the Knative Service (stock-service-example, default)
#   INGRESSGATEWAY, INGRESS_NAMESPACE   the gateway's Service (istio-ingressgateway, istio-system)
#   GATEWAY                             host[:port] of the gateway, instead of asking the cluster
#   DOMAIN_NAME                         host of the route, likewise; with both, no cluster is asked
#   RATE                                requests per second at most
#   WAIT                                seconds for the Service to become Ready after an apply (60)
set -eEuo pipefail
trap 'die "\"$BASH_COMMAND\" failed"' ERR

export SVC_NAME=${SVC_NAME:-stock-service-example} NAMESPACE=${NAMESPACE:-default} RATE=${RATE:-} MARK="answer $RANDOM$RANDOM"
INGRESSGATEWAY=${INGRESSGATEWAY:-istio-ingressgateway} INGRESS_NAMESPACE=${INGRESS_NAMESPACE:-istio-system}
GATEWAY=${GATEWAY:-} DOMAIN_NAME=${DOMAIN_NAME:-} WAIT=${WAIT:-60}
tag='' path=/ requests='' url=http:// targets='' generation='' child='' tally='' stopped='' columns=''

die() {
  printf 'run-test.sh: %s\n' "$*" >&2
  exit 2
}

read_options() {
  local major minor host='(\[[0-9A-Fa-f:.]+\]|[0-9A-Za-z._-]+)(:[0-9]{1,5})?'
  while [[ ${1:-} == -* ]]; do
    case $1 in
      -h | --help) sed -n '2,/^set/s/^# \{0,1\}//p' "$0" && exit ;;
      --tag) tag=${2:-?} ;;
      --path) path=${2:-?} ;;
      *) die "there is no option $1: -h explains" ;;
    esac
    shift $(($# > 1 ? 2 : 1))
  done
  requests=$*
  GATEWAY=${GATEWAY#http://} GATEWAY=${GATEWAY%/}
  must N "$requests" '[1-9][0-9]{0,4}' "a number of requests from 1 to 99999"
  must --tag "$tag" '[a-z0-9-]+' "a tag of the Service's traffic"
  must --path "$path" '/[^][{}[:space:]]*' "a path that begins with / and has no spaces, brackets or braces"
  must RATE "$RATE" '[1-9][0-9]{0,2}' "a number of requests per second from 1 to 999"
  must WAIT "$WAIT" '0|[1-9][0-9]{0,3}' "a number of seconds"
  must GATEWAY "$GATEWAY" "$host" "the gateway's host[:port]"
  must DOMAIN_NAME "$DOMAIN_NAME" "$host" "the route's host"
  [[ -z $tag || -z $DOMAIN_NAME ]] || die "the tag $tag has a host of its own: unset DOMAIN_NAME, or set it to that and leave out --tag"
  hash awk curl mkfifo mktemp 2>/dev/null || die "awk, curl, mkfifo and mktemp must be installed"
  [[ -n $GATEWAY && -n $DOMAIN_NAME ]] || hash kubectl 2>/dev/null || die "kubectl is not installed; without it, set GATEWAY and DOMAIN_NAME"
  IFS=' .' read -r _ major minor _ <<<"$(curl --version)"
  ((major > 7 || major == 7 && minor >= 84)) || die "curl $major.$minor is too old: 7.84 is the first with %header{} and --rate"
}

# must checks the value of an option or a variable, which may be empty.
must() {
  [[ $2 =~ ^($3)?$ ]] || die "$1 is $4, not \"$2\": -h explains"
}

# ask WHAT ARGS... calls kubectl, whose answer goes to $tmp/answer.
ask() {
  kubectl "${@:2}" --request-timeout=20s >"$tmp/answer" 2>"$tmp/errors" &
  child=$!
  wait "$child" || die "kubectl cannot get $1: $(sed /^Warning/d "$tmp/errors" | tail -n 1)"
}

# ask_service waits until the Service is done with the last kubectl apply, and
# sets url, targets (revision,tag,percent each) and generation.
ask_service() {
  local service="Service $SVC_NAME in namespace $NAMESPACE" start=$SECONDS told=''
  local template observed wanted at_tag ready condition
  # shellcheck disable=SC2016 # the template's $latest, not the shell's
  template='
    {{- $latest := ""}}
    {{- with .status}}{{$latest = .latestCreatedRevisionName}}{{end}}
    {{- with .spec.template.metadata}}{{with .name}}{{$latest = .}}{{end}}{{end}}
    {{- .metadata.generation}}|
    {{- range .spec.traffic}}{{or .revisionName $latest}},{{or .tag ""}},{{or .percent 0}} {{end}}|
    {{- with .status}}{{.observedGeneration}}|{{or .url ""}}|
      {{- range .traffic}}{{.revisionName}},{{or .tag ""}},{{or .percent 0}} {{end}}|
      {{- range .traffic}}{{if eq (or .tag "") "TAG"}}{{or .url ""}} {{.revisionName}},{{.tag}},100{{end}}{{end}}|
      {{- range .conditions}}{{if eq .type "Ready"}}{{.status}}|{{or .reason ""}}: {{or .message ""}}{{end}}{{end}}
    {{- end}}'
  while true; do
    ask "$service" get ksvc "$SVC_NAME" --namespace "$NAMESPACE" --output "go-template=${template/TAG/${tag:-?}}"
    IFS='|' read -r -d '' generation wanted observed url targets at_tag ready condition <"$tmp/answer" || true
    if [[ $ready == True && $generation == "$observed" && $targets == "$wanted" ]]; then break; fi
    if [[ $ready == True ]]; then condition="its traffic is $targets, its spec's $wanted"; fi
    if ((SECONDS - start >= WAIT)); then
      kubectl get revisions,pods --namespace "$NAMESPACE" --selector "serving.knative.dev/service=$SVC_NAME" >&2 || true
      die "$service is not Ready after $WAIT s: $condition"
    fi
    # a failure too can pass: for some seconds it is that of the apply before
    if ((SECONDS - start >= 3)) && [[ $condition != "$told" ]]; then
      printf 'run-test.sh: waiting for %s: %s\n' "$service" "$condition" >&2
      told=$condition
    fi
    sleep 0.3
  done
  if [[ -z $tag ]]; then return; fi
  [[ $at_tag == http* ]] || die "$service has no tag $tag; its traffic, by revision,tag,percent: $targets"
  read -r url targets <<<"$at_tag"
}

# ask_gateway sets GATEWAY from the gateway's Service: its load balancer's
# address, or else a node's with the nodePort.
ask_gateway() {
  local address node_port port=80 service="Service $INGRESSGATEWAY in namespace $INGRESS_NAMESPACE"
  if [[ $url == https:* ]]; then port=443; fi
  ask "the gateway's $service" get service "$INGRESSGATEWAY" --namespace "$INGRESS_NAMESPACE" --output "go-template=
    {{- range .status.loadBalancer.ingress}}{{or .ip .hostname}} {{end}}|
    {{- range .spec.ports}}{{if eq .port $port}}{{or .nodePort \"\"}}{{end}}{{end}}"
  IFS='|' read -r address node_port <"$tmp/answer" || true
  if [[ -n $address ]]; then
    node_port=''
  elif [[ -n $node_port ]]; then
    ask "a node's address" get nodes --output 'go-template={{range .items}}{{range .status.addresses}}{{if eq .type "InternalIP"}}{{.address}} {{end}}{{end}}{{end}}'
    address=$(cat "$tmp/answer")
  fi
  [[ -n $address ]] || die "$service has no address to reach it from here: run \"minikube tunnel\", or" \
    "\"kubectl port-forward --namespace $INGRESS_NAMESPACE service/$INGRESSGATEWAY 8081:$port\" and set GATEWAY=localhost:8081"
  address=${address%% *}
  if [[ $address == *:* ]]; then address="[$address]"; fi
  GATEWAY=$address${node_port:+:$node_port}
}

# send prints each answer's body, and after it a line that begins with $MARK.
send() {
  # a URL's fragment is not sent: it counts the requests
  exec curl --disable "$url$path#[1-${requests:-1}]" --silent --no-buffer --noproxy '*' --connect-to "::$GATEWAY" \
    --http1.1 --header 'Connection: close' --connect-timeout 3 --max-time 9 ${RATE:+--rate "$RATE/s"} \
    --write-out "%{stderr}\n$MARK|%{exitcode}|%{http_code}|%{time_total}|%header{x-revision}|%header{x-pod}|%header{x-rehearsal}|%{errormsg}\n" 2>&1
}

# tally prints the table, which grows on a terminal, and says what is wrong and
# fails, or says what these answers have shown.
tally() {
  trap '' INT # Ctrl-C reaches it too
  LC_ALL=C exec awk -F '|' -v N="$requests" -v targets="$targets" -v generation="$generation" -v columns="$columns" '
    BEGIN {
      name_width = length("REVISION")
      tag_width = length("TAG")
      known = split(targets, list, " ")
      for (i = 1; i <= known; i++) {
        split(list[i], target, ",")
        name = add_row(target[1])
        weight[name] += target[3]
        tags[name] = tags[name] (tags[name] != "" && target[2] != "" ? "," : "") target[2]
        if (length(tags[name]) > tag_width) tag_width = length(tags[name])
      }
    }
    $1 != ENVIRON["MARK"] {
      if (!N || body == "") body = body $0 "\n"
      next
    }
    {
      sub(/\n$/, "", body) # the line break before the mark
      if (!N) printf "%s", body
      sub(/[[:cntrl:]].*/, "", body) # its first line is enough to name it
      gsub(/[[:cntrl:]]/, "?", $0)
      name = $5 == "" && $3 ~ /^2/ ? named_by(body) : $5
      body = ""
      sent++
      if (name != "") {
        name = add_row(name)
        answers[name]++
        answered++
        if ($6 != "" && !seen[name, $6]++) any_pods = ++pods[name]
      }
      silent = $3 == "000" ? silent + 1 : 0
      waited = $2 ? waited + $4 : 0
      if ($2 || $3 !~ /^2/) failed[name] += failures = 1
      else whole++
      what = problem(name, $8)
      if (what && !noted[what]++) notes[++kinds] = what
      undrawn += ENVIRON["RATE"] && $4 < 1 / ENVIRON["RATE"] ? 1 / ENVIRON["RATE"] : $4 # seconds passed, at least
      if (columns && undrawn >= 0.1) show()
      if (gave_up = silent == 5 || waited > 15) exit
    }
    END {
      if (N) show()
      if (gave_up) complain("gave up after " sent " requests: " (whole ? "the gateway no longer answers" : "set GATEWAY to an address that reaches the gateway from here"))
      else if (sent < N) complain("interrupted after " sent + 0 " of " N " requests")
      for (i = 1; i <= kinds; i++) complain(noted[notes[i]] " of " sent " " notes[i])
      if (known && !gave_up && !rehearsed && sent >= N) judge()
      if (bad) exit 1
      if (!N) exit
      print "\nok: no request failed" (known ? ", and each share fits its percent" : "; no cluster was asked for the percents")
      print N " answers" cannot_tell (cannot_tell ? ", and" : "") " can miss failures of fewer than 1 request in " (N < 10 ? 2 : int(N / 4.6))
    }

    # add_row keeps the order of the traffic; without a cluster it sorts by name
    function add_row(name,  i) {
      if (rows >= 20 && !(name in row)) name = "others"
      if (name in row) return name
      for (i = rows++; i > 0 && !known && order[i] > name; i--) order[i + 1] = order[i]
      row[order[i + 1] = name]
      if (length(name) > name_width) name_width = length(name)
      return name
    }

    # named_by finds the revision whose label is a word of the text; without a
    # cluster the text itself is the name
    function named_by(text,  i, label, found) {
      for (i = 1; known && i <= rows; i++) {
        label = substr(order[i], length(ENVIRON["SVC_NAME"]) + 2)
        if (label != "" && (" " text " ") ~ ("[^0-9A-Za-z-]" label "[^0-9A-Za-z-]")) found = found order[i]
      }
      return found in row ? found : known ? "" : "\"" substr(text, 1, 40) "\""
    }

    # problem tells one cause in one way, without its times and sizes
    function problem(name, text) {
      sub(/ after [0-9]+ m[a-z]*/, "", text)
      sub(/ with [0-9]+ .*/, "", text)
      if ($2 == 60) text = text "; CURL_CA_BUNDLE names a file of certificates to trust"
      rehearsed = rehearsed || $7 != ""
      if (known && rehearsed) return "answers came from a rehearsal (SPLIT), not from the cluster: set GATEWAY to its gateway"
      if ($3 == "000") return "requests failed: no answer (" text ")"
      name = name == "" ? ", which names no revision" : " from " name
      if ($2) return "requests failed: an answer cut short (" text ")" name
      if ($3 !~ /^2/) return "requests failed: status " $3 name
      if (name ~ /^,/) return "answers name no revision, neither by X-Revision nor by their text"
    }

    # show draws the table over the one before, each row on one line
    function show(  i, name, line, share, room) {
      printf "%s", up
      for (i = 0; i <= rows; i++) {
        name = order[i]
        share = answered ? 100 * answers[name] / answered : 0
        line = sprintf("%-" name_width "s", i ? name : "REVISION")
        if (known) line = line sprintf("  %-" tag_width "s  %8s", i ? tags[name] : "TAG", i ? weight[name] + 0 "%" : "EXPECTED")
        line = line sprintf("  %8s  %5s", i ? sprintf("%.1f%%", share) : "OBSERVED", i ? answers[name] + 0 : "COUNT")
        if (failures) line = line sprintf("  %6s", i ? failed[name] + 0 : "FAILED")
        if (any_pods) line = line sprintf("  %4s", i ? pods[name] + 0 : "PODS")
        room = (columns ? columns : 100) - length(line) - 2
        if (i && room >= 10) line = line "  " substr("##############################", 1, int(share * (room < 30 ? room : 30) / 100 + 0.5))
        sub(/ +$/, "", line)
        print columns ? substr(line, 1, columns) "\033[K" : line
      }
      fflush()
      if (columns) up = "\033[" rows + 1 "A\r"
      undrawn = 0
    }

    # judge fails an honest split less than once in 10,000 runs: each row has
    # two tails, beyond which its count must not be
    function judge(  i, name, p, told) {
      "kubectl get ksvc \"$SVC_NAME\" --namespace \"$NAMESPACE\" --request-timeout=20s --output \"go-template={{.metadata.generation}}\" 2>/dev/null" | getline now
      if (now != generation) complain("the Service was edited meanwhile, so the shares are not judged")
      for (i = 1; i <= rows && now == generation; i++) {
        name = order[i]
        p = weight[name] / 100
        range(p, answered, 0.0001 / (2 * rows))
        if (p == 0 && answers[name]) complain(name " got " answers[name] " of " answered " answers, and its percent is 0")
        else if (p < 1 && (answers[name] < lo || answers[name] > hi)) complain(sprintf("%s got %d of %d answers, and chance explains %d to %d for %d%%", name, answers[name], answered, lo, hi, 100 * p))
        if (lo < hi && !told[p]++) cannot_tell = cannot_tell sprintf("%s%d%% from %.1f%% to %.1f%%", cannot_tell ? ", " : " cannot tell ", 100 * p, 100 * lo / answered, 100 * hi / answered)
      }
    }

    # range sets lo and hi, beyond which a tail is at most chance; each term
    # follows from its neighbour
    function range(p, n, chance,  w, sum, tail) {
      lo = hi = p < 1 ? int((n + 1) * p) : n
      if (p == 0 || p == 1) return
      for (sum = w[lo] = 1; lo > 0 && w[lo] > 1e-20; lo--) sum += w[lo - 1] = w[lo] * lo / (n - lo + 1) * (1 - p) / p
      for (; hi < n && w[hi] > 1e-20; hi++) sum += w[hi + 1] = w[hi] * (n - hi) / (hi + 1) * p / (1 - p)
      for (tail = w[lo]; tail <= chance * sum; tail += w[lo]) lo++
      for (tail = w[hi]; tail <= chance * sum; tail += w[hi]) hi--
    }

    function complain(what) {
      print "run-test.sh: " what | "cat >&2"
      bad = 1
    }
  '
}

# stop ends what runs; the tally still shows what was answered.
# shellcheck disable=SC2317 # traps call it
stop() {
  if [[ -n $child ]]; then kill "$child" 2>/dev/null || true; fi
  if [[ -z $tally ]]; then exit "$1"; fi
  stopped=$1
}

main() {
  local status=0
  read_options "$@"
  tmp=$(mktemp -d) || die "cannot make a folder in ${TMPDIR:-/tmp}: set TMPDIR to another"
  trap 'rm -rf "$tmp"' EXIT
  trap 'stop 129' HUP && trap 'stop 130' INT && trap 'stop 143' TERM
  if [[ -z $GATEWAY || -z $DOMAIN_NAME ]]; then ask_service; fi
  if [[ -n $DOMAIN_NAME ]]; then url=${url%%://*}://$DOMAIN_NAME; fi
  if [[ -z $GATEWAY ]]; then ask_gateway; fi

  if [[ -n $requests ]]; then printf '%s requests to %s through %s\n\n' "$requests" "$url$path" "$GATEWAY"; fi
  if [[ -t 1 && ${TERM:-dumb} != dumb ]]; then read -r _ columns <<<"$(stty size </dev/tty 2>/dev/null || true)"; fi
  mkfifo "$tmp/answers"
  send >"$tmp/answers" &
  child=$!
  tally <"$tmp/answers" &
  tally=$!
  wait "$tally" || status=$?
  if [[ -n $stopped ]]; then
    wait "$tally" || true
    status=$stopped
  fi
  { kill "$child" && wait "$child"; } 2>/dev/null || true
  exit "$status"
}

main "$@"
