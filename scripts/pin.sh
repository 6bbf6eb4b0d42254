#!/usr/bin/env bash
set -euo pipefail
readonly USAGE='usage: pin.sh [--dry-run] [--move-tag] [--context NAME]
Prepares the live Service SVC_NAME in NAMESPACE for releases by percentages, and moves no request: what follows the
latest revision with a percentage gets the name of that revision, and the tag latest follows it at 0%. --move-tag
takes that tag from a revision that has it by name. Exits with 0 if done, 1 if not or it cannot tell, 2 if not tried.'
die() { echo "pin.sh: ${*:2}" >&2 || true; exit "$1"; }
ksvc() { kubectl ${context:+--context "$context"} -n "$NAMESPACE" "$1" ksvc "$SVC_NAME" --request-timeout 9s "${@:2}"; }
look() { # a revision named - is the latest one, whichever that is
  found=$(ksvc get --output go-template='version {{.metadata.resourceVersion}}
{{with .metadata.annotations}}{{with index . "knative-sample.github.io/traffic-before-canary"}}canary {{.}}
{{end}}{{end}}{{with .status}}
created {{.latestCreatedRevisionName}}
ready {{.latestReadyRevisionName}}
{{range .traffic}}{{if .latestRevision}}serves {{.revisionName}}{{"\n"}}{{end}}{{end}}
{{if eq .observedGeneration $.metadata.generation}}{{range .conditions}}{{.type}} {{.status}} {{.reason}}
{{end}}{{end}}{{end}}
{{range .spec.traffic}}traffic {{or .revisionName "-"}} {{or .tag "-"}} {{or .percent 0}}{{"\n"}}{{end}}') || return
  created=$(field created) ready=$(field ready) traffic=$(field traffic) route=$(field RoutesReady)
}
field() { awk -v name="$1" '$1 == name { sub(/^[^ ]* /, ""); print }' <<<"$found"; }
refuse_what_moves() { # what cannot be told from a release that is going on
  [[ -z $(field canary) ]] || die 1 "a release by canary.sh is under way, or was cut off: see canary.sh --put-back"
  [[ $route == True* && $(field serves | sort -u) =~ ^("$ready")?$ ]] ||
    die 1 "its traffic changes, or is not in force (${route:-edited just now}): run-test.sh says why"
  [[ $(field ConfigurationsReady) =~ ^True || $(field ConfigurationsReady) =~ ^False && $created != "$ready" ]] ||
    die 1 "$created, the latest revision, is starting, or has failed: wait, or apply one that gets ready"
  [[ -n $move ]] || ! grep '^[^-].* latest ' <<<"$traffic" || die 1 "that revision has the tag latest: see --move-tag"
}
plan() { # a revision that stands there twice without a tag would never be Ready
  awk -v ready="$ready" '$1 == "-" && $3 == 0 && $2 ~ /^(-|latest)$/ { next } # comes last
    { entry = ($1 == "-" && $3 > 0 ? ready : $1) " " ($2 == "latest" ? "-" : $2) }
    { if (!(entry in percent)) order[++n] = entry; percent[entry] += $3 }
    END { for (i = 1; i <= n; i++) print order[i], percent[order[i]]; print "- latest 0" }' <<<"$traffic"
}
entries() { # as a file has them
  awk '{ name = $1 == "-" ? "latestRevision: true" : "revisionName: \"" $1 "\"" }
    { print "    - {" name ", percent: " $3 ($2 == "-" ? "" : ", tag: \"" $2 "\"") "}" }' <<<"$1"
}
main() {
  local wanted context='' dry='' move='' SVC_NAME=${SVC_NAME:-stock-service-example} NAMESPACE=${NAMESPACE:-default}
  while (($#)); do
    case $1 in
      --dry-run) dry=1 ;;
      --move-tag) move=1 ;;
      --context) shift && context=${1:-} ;;
      -h | --help) echo "$USAGE"; exit ;;
      *) die 2 "there is no option \"$1\": see --help" ;;
    esac
    shift || die 2 "--context needs a name"
  done
  look || die 2 "cannot get the Service $SVC_NAME in namespace $NAMESPACE"
  refuse_what_moves
  wanted=$(plan)
  if [[ $(sort <<<"$traffic") == "$(sort <<<"$wanted")" ]]; then echo "It is pinned already: nothing was changed."; exit; fi
  printf '  traffic: # %s\n%s\n' before "$(entries "$traffic")" after "$(entries "$wanted")"
  if [[ -n $dry ]]; then echo "Nothing was changed: this was a dry run."; exit; fi
  printf -v patch 'metadata: {resourceVersion: "%s"}\nspec:\n  traffic:\n%s' "$(field version)" "$(entries "$wanted")"
  ksvc patch --type merge --patch "$patch" >/dev/null ||
    { look && [[ $traffic == "$wanted" ]]; } || die 1 "not pinned, for kubectl's reason above: run it again"
  echo 'Pinned. If your file has traffic, take it out, and "kubectl apply set-last-applied --create-annotation --filename
FILE". Each release is then "kubectl apply --filename FILE", ./latest-run-test.sh 50, scripts/canary.sh. See
docs/existing-service.md.'
}
main "$@"
