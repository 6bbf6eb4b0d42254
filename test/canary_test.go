package test

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// The canary runs beside a stand-in for the cluster, and one for run-test.sh
// that asks the test what it found. Traffic is REVISION,TAG,PERCENT for each
// entry, with @latest for what follows the latest revision, which is s-v3.

const (
	start   = "s-v1,v1,50 s-v2,v2,50 @latest,latest,0" // as revision-v3.yaml has it
	at5     = "s-v1,v1,47 s-v2,v2,48 @latest,latest,0 s-v3,,5"
	at25    = "s-v1,v1,37 s-v2,v2,38 @latest,latest,0 s-v3,,25"
	at50    = "s-v1,v1,25 s-v2,v2,25 @latest,latest,0 s-v3,,50"
	at100   = "s-v1,v1,0 s-v2,v2,0 @latest,latest,0 s-v3,,100"
	other   = "s-v1,v1,100 @latest,latest,0"
	kept    = "knative-sample.github.io/traffic-before-canary"
	asIs    = "--path / --failures-of s-v3" // what run-test.sh is called with
	preview = "--path / --tag latest --requests 50 --fail-fast"
	judge   = "--path / --requests 300 --enough --fail-fast --failures-of s-v3"
	verify  = "--path / --requests 100 --enough --fail-fast --failures-of s-v3"
	back    = "canary.sh: the gateway has the traffic of before, set by canary.sh\n"
	but     = "canary.sh: the gateway has the traffic of before, set by canary.sh, but for what has failed: s-v3\n"
	advice  = ", and was 50% s-v1 (v1), 50% s-v2 (v2), 0% @latest (latest). To go back: canary.sh --put-back. " +
		"To keep what is: kubectl annotate ksvc stock-service-example --namespace default --context c " + kept + "-\n"
	theirs = "canary.sh: did NOT put back the traffic of before: kubectl-edit has changed it. The traffic is 100% s-v1 (v1), 0% @latest (latest)" + advice
)

// stage is a Knative Service, a canary, and what happens to them.
type stage struct {
	traffic string
	answers func(s *stage, call string, n int) int                   // run-test.sh's exit status at its nth such call
	fault   func(s *stage, method string, n int) (before, after int) // a status in place of an edit or an answer; -1 cuts the connection

	mu      sync.Mutex
	kept    string // annotation
	served  string // traffic
	reason  string // of Ready, if it is Unknown
	failed  string // revision
	stuck   bool   // nothing more gets in force
	created string // the latest revision, if not s-v3
	behind  bool   // Knative has not taken up the last edit: the revision of before is still the latest
	writer  string
	version int
	calls   map[string]int
	events  []string

	dir, server string
	hang        chan struct{} // is closed in the end
}

func (s *stage) object() object {
	routes, list := "True", strings.ReplaceAll(s.traffic, "@latest", "s-v3")
	if s.stuck || s.failed != "" && strings.Contains(list, s.failed) { // Knative assigns nothing of it
		routes = "False"
	} else {
		s.served = list
	}
	ready := map[bool]string{true: "True", false: "False"}[s.failed == ""]
	if s.reason != "" {
		ready = "Unknown " + s.reason
	}
	all := ksvc{spec: s.traffic, status: s.served, latest: "s-v3", ready: ready, routes: routes, edited: s.version}.object()
	all["status"].(object)["latestReadyRevisionName"] = map[bool]string{true: "s-v2", false: "s-v3"}[s.failed == "s-v3"]
	all["status"].(object)["latestCreatedRevisionName"] = cmp.Or(s.created, "s-v3")
	if s.behind {
		all["status"].(object)["latestCreatedRevisionName"], all["status"].(object)["observedGeneration"] = "s-v2", s.version-1
	}
	metadata := all["metadata"].(object)
	metadata["resourceVersion"] = fmt.Sprint(s.version)
	metadata["managedFields"] = []any{
		object{"manager": "controller", "subresource": "status", "fieldsV1": object{"f:status": object{}}},
		object{"manager": s.writer, "fieldsV1": object{"f:spec": object{"f:traffic": object{}}}},
	}
	if s.kept != "" {
		metadata["annotations"] = object{kept: s.kept}
	}
	return all
}

// edit changes the traffic, as the canary or somebody else.
func (s *stage) edit(writer, traffic string) {
	s.version++
	s.writer, s.traffic = writer, traffic
	s.events = append(s.events, strings.TrimPrefix(writer+": "+traffic, "canary.sh: "))
}

func (s *stage) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch r.URL.Path {
	case "/run-test.sh":
		call := regexp.MustCompile("^--context c | --wait [0-9]+").ReplaceAllString(r.FormValue("args"), "")
		s.calls[call]++
		s.events = append(s.events, call)
		status := 0
		if s.answers != nil {
			status = s.answers(s, call, s.calls[call])
		}
		fmt.Fprint(w, status)
	case knativeAPI + "/namespaces/default/revisions":
		var items []object
		for _, name := range []string{"s-v1", "s-v2", "s-v3"} {
			ready := map[bool]string{true: "False", false: "True"}[name == s.failed]
			items = append(items, object{"metadata": object{"name": name}, "status": object{"conditions": []any{condition("Ready", ready)}}})
		}
		reply(w, 200, list(items))
	case knativeAPI + "/namespaces/default/services/stock-service-example":
		s.calls[r.Method]++
		before, after := 0, 0
		if s.fault != nil {
			before, after = s.fault(s, r.Method, s.calls[r.Method])
		}
		if r.Method == "PATCH" && before == 0 {
			before = s.patch(r)
		}
		switch status := cmp.Or(after, before); status {
		case 0:
			reply(w, 200, s.object())
		case -1:
			panic(http.ErrAbortHandler)
		default:
			reply(w, status, failure(status, map[int]string{403: "Forbidden", 409: "Conflict"}[status], "no"))
		}
	}
}

// mergePatch is of the traffic, and of one annotation.
type mergePatch struct {
	Metadata struct {
		ResourceVersion string
		Annotations     map[string]string
	}
	Spec struct{ Traffic []any }
}

func (s *stage) patch(r *http.Request) (refused int) {
	var patch mergePatch
	if json.NewDecoder(r.Body).Decode(&patch) != nil || patch.Metadata.ResourceVersion != fmt.Sprint(s.version) {
		return 409
	}
	s.kept = patch.Metadata.Annotations[kept]
	if patch.Spec.Traffic != nil {
		s.edit(r.FormValue("fieldManager"), words(patch.Spec.Traffic))
	} else {
		s.version++
		s.events = append(s.events, "forget")
	}
	return 0
}

// traffic is a list as JSON has it, and words the other way round.
func traffic(list string) string { out, _ := json.Marshal(entries(list, "")); return string(out) }
func words(traffic []any) string {
	var all []string
	for _, e := range traffic {
		text := func(key string) string { value, _ := e.(object)[key].(string); return value }
		all = append(all, fmt.Sprintf("%s,%s,%v", cmp.Or(text("revisionName"), "@latest"), text("tag"), e.(object)["percent"]))
	}
	return strings.Join(all, " ")
}

func (s *stage) open(t *testing.T) {
	s.traffic = cmp.Or(s.traffic, start)
	s.writer, s.version, s.calls, s.hang, s.dir = "kubectl-client-side-apply", 1, map[string]int{}, make(chan struct{}), t.TempDir()
	write(t, filepath.Join(s.dir, "canary.sh"), strings.Replace(read(t, "scripts/canary.sh"), "/../run-test.sh", "/run-test.sh", -1))
	write(t, filepath.Join(s.dir, "run-test.sh"), `case "$*" in *--help) exit ;; esac; sleep 9 & kill $! && wait $! || (($? == 143)) || exit 9; exit "$(curl -qsG "$STUB_SERVER/run-test.sh" --data-urlencode "args=$*")"`)
	link(t, stub, filepath.Join(s.dir, "kubectl"))
	write(t, filepath.Join(s.dir, "only-in-context"), `#!/bin/sh
case "$*" in config*|*"--context c "*) exec `+s.dir+`/kubectl "$@" ;; esac
echo "it asks the current context" >&2
exit 1
`)
	server := httptest.NewServer(s)
	s.server = server.URL
	t.Cleanup(server.Close)
	t.Cleanup(func() { close(s.hang) })
}

func (s *stage) command(t *testing.T, args ...string) *exec.Cmd {
	return command(t, filepath.Join(s.dir, "only-in-context"), s.server, filepath.Join(s.dir, "canary.sh"), args, nil)
}

func (s *stage) happened() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return lines(s.events...)
}
func (s *stage) await(t *testing.T, event string) {
	for end := time.Now().Add(2 * time.Minute); !strings.HasSuffix(s.happened(), event); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within 2 minutes: %s, but\n%s", event, s.happened())
		}
	}
}
func lines(all ...string) string { return strings.Join(all, "\n") }

// said is what the canary itself says, but for what it is about to do, and for
// kubectl's own words.
func said(stderr string) (said string) {
	for line := range strings.Lines(stderr) {
		if strings.HasPrefix(line, "canary.sh: ") && !strings.HasSuffix(line, "% of the traffic\n") && !strings.Contains(line, " of context c\n") {
			said += regexp.MustCompile(`: (Error from|The connection).*`).ReplaceAllString(line, ": …")
		}
	}
	return said
}

// failing fails the nth judgement, when do has been done.
func failing(n int, do func(s *stage)) func(*stage, string, int) int {
	return func(s *stage, call string, nth int) int {
		if call != judge || n != nth {
			return 0
		}
		do(s)
		return 1
	}
}

// meanwhile does something at the nth edit, or question.
func meanwhile(method string, n int, do func(s *stage) (before, after int)) func(*stage, string, int) (int, int) {
	return func(s *stage, m string, nth int) (int, int) {
		if m != method || n != nth {
			return 0, 0
		}
		return do(s)
	}
}

func nothing(*stage)                    {}
func breaks(s *stage)                   { s.failed = "s-v3" }
func sticks(s *stage)                   { s.stuck = true }
func lost(*stage) (before, after int)   { return -1, 0 }
func unsaid(*stage) (before, after int) { return 0, -1 }

func TestCanary(t *testing.T) {
	t.Parallel()
	const still = "canary.sh: this run has moved no traffic\n"
	const already = " of the traffic already: apply the next revision (see pin.sh --help)\n" + still
	const noTag = "canary.sh: no latestRevision: true has the tag latest: see pin.sh --help\n" + still
	const changed = "canary.sh: the Service is not as it was, or s-v3 is not ready\n" + still
	const rising = "canary.sh: --steps are rising whole percentages: see --help\n"
	undo := func(s *stage) { s.edit("argocd-controller", start) }
	rewrite := func(s *stage) { s.edit("kubectl-edit", other) }
	tests := []struct {
		name    string
		traffic string // start, if it is not said
		args    string // after --preview 0
		answers func(s *stage, call string, n int) int
		fault   func(s *stage, method string, n int) (before, after int)
		code    int
		want    string // what happened after the path was asked as it is
		said    string
	}{
		{name: "it moves the traffic in steps", args: "--preview 50", want: lines(preview, at5, judge, at25, judge, at50, judge, at100, judge, "forget")},
		{name: "it asks several paths, with options for run-test.sh and curl", code: 0,
			args: "--path / --path /a* --preview 9 --steps 50 --requests 20 --allow 1 --within 0.5 --pause 1 -- --header @token",
			want: strings.ReplaceAll(lines("--path / --tag latest --requests 9 --fail-fast WITH", "--path /a* --failures-of s-v3 WITH", "--path /a* --tag latest --requests 9 --fail-fast WITH",
				at50, "--path / --requests 20 --enough --fail-fast --failures-of s-v3 WITH",
				"--path /a* --requests 20 --enough --fail-fast --failures-of s-v3 WITH", "forget"), "WITH", "--allow 1 --within 0.5 -- --header @token")},
		{name: "it moves from where the new revision has a share, by its name", traffic: "s-v1,v1,40 s-v2,v2,30 s-v3,v3,30 @latest,latest,0",
			want: lines("s-v1,v1,28 s-v2,v2,22 s-v3,v3,0 @latest,latest,0 s-v3,,50", judge, "s-v1,v1,0 s-v2,v2,0 s-v3,v3,0 @latest,latest,0 s-v3,,100", judge, "forget")},
		{name: "it moves from where it has a share without a tag", traffic: "s-v1,,70 @latest,latest,0 s-v3,,30", args: "--steps 30\u00a031",
			want: lines("s-v1,,69 @latest,latest,0 s-v3,,31", judge, "forget")},
		{name: "it moves from where it has a share as the latest revision", traffic: "s-v1,,70 @latest,latest,30", args: "--steps 40",
			want: lines("s-v1,,60 @latest,latest,0 s-v3,,40", judge, "forget")},
		{name: "it keeps the tags of previews, and nothing that has neither percent nor tag", traffic: "s-v1,pr-1,1 s-v2,,99 s-v3,pr-2,0 s-v0,,0 @latest,latest,0",
			args: "--steps 50\u00a0100", want: lines("s-v1,pr-1,0 s-v2,,50 s-v3,pr-2,0 @latest,latest,0 s-v3,,50", judge, "s-v1,pr-1,0 s-v3,pr-2,0 @latest,latest,0 s-v3,,100", judge, "forget")},
		{name: "it moves nothing if the preview fails", args: "--preview 50", code: 1, want: preview,
			answers: func(s *stage, call string, n int) int { return strings.Count(call, "--tag") }, said: still},
		{name: "it goes back at a later step", code: 1, answers: failing(2, nothing), want: lines(at5, judge, at25, judge, start, verify, "forget"), said: back},
		{name: "it leaves out the revision that crashes, and the tag that follows it", code: 1, answers: failing(2, breaks),
			want: lines(at5, judge, at25, judge, "s-v1,v1,50 s-v2,v2,50", verify, "forget"), said: but},
		{name: "it leaves it out also if it crashes only after that", code: 1, answers: failing(1, nothing),
			fault: meanwhile("PATCH", 2, func(s *stage) (int, int) { breaks(s); return 0, 0 }),
			want:  lines(at5, judge, start, "s-v1,v1,50 s-v2,v2,50", verify, "forget"), said: but},
		{name: "it gives the others what the revision that crashes had before", traffic: "s-v1,,20 s-v2,b,10 s-v3,c,70 @latest,latest,0", args: "--steps 90",
			code: 1, answers: failing(1, breaks), want: lines("s-v1,,6 s-v2,b,4 s-v3,c,0 @latest,latest,0 s-v3,,90", judge, "s-v1,,66 s-v2,b,34", verify, "forget"), said: but},
		{name: "it leaves out a revision that is gone", traffic: "s-v2,,100 s-v9,old,0 @latest,latest,0", args: "--steps 50", code: 1, answers: failing(1, func(s *stage) { s.failed = "s-v9" }),
			want: lines("s-v2,,50 s-v9,old,0 @latest,latest,0 s-v3,,50", judge, "s-v2,,100 @latest,latest,0", verify, "forget"), said: strings.Replace(but, "s-v3", "s-v9", 1)},
		{name: "it does not mind a failed one without a part", traffic: "s-v2,,100 @latest,latest,0", args: "--steps 50", code: 1, answers: failing(1, func(s *stage) { s.failed = "s-v1" }),
			want: lines("s-v2,,50 @latest,latest,0 s-v3,,50", judge, "s-v2,,100 @latest,latest,0", verify, "forget"), said: back},
		{name: "it tells if its traffic is back, and cannot be confirmed", args: "--wait 1", code: 1, answers: func(s *stage, call string, n int) int {
			time.Sleep(map[string]time.Duration{verify: 2500 * time.Millisecond}[call]) // until its time is over
			return map[string]int{judge: 1, verify: 1}[call]
		},
			want: lines(at5, judge, start, verify), said: "canary.sh: put back the traffic of before: but run-test.sh does not confirm it, for the reason above." +
				" The traffic is 50% s-v1 (v1), 50% s-v2 (v2), 0% @latest (latest)" + advice},
		{name: "it is back only when the gateway has it", code: 1, want: lines(at5, judge, start, verify, verify, "forget"), said: back,
			answers: func(s *stage, call string, n int) int {
				return map[bool]int{true: 1}[call == judge || call == verify && n == 1]
			}},
		{name: "it tells if the gateway never has it", args: "--wait 2", code: 1, answers: failing(1, sticks), want: lines(at5, judge, start),
			said: "canary.sh: did NOT put back the traffic of before: the Service has it, but it is not in force (ConfigurationsReady=True Ready=True RoutesReady=False)." +
				" The traffic is 50% s-v1 (v1), 50% s-v2 (v2), 0% @latest (latest)" + advice},
		{name: "it goes back if the check fails", code: 1, want: lines(at5, judge, at25, judge, start, verify, "forget"), said: "canary.sh: --check exits with 1\n" + back,
			args: "--check [[\u00a0$SVC_NAME/$NAMESPACE/$CONTEXT/$REVISION/$PERCENT\u00a0!=\u00a0stock-service-example/default/c/s-v3/25\u00a0]]"},
		{name: "it goes on where an edit is made, and the answer lost", args: "--steps 5", fault: meanwhile("PATCH", 1, unsaid), want: lines(at5, judge, "forget")},
		{name: "it edits again where an edit is lost", args: "--steps 5", fault: meanwhile("PATCH", 1, lost), want: lines(at5, judge, "forget")},
		{name: "it goes back where the answer is lost then", code: 1, answers: failing(1, nothing), fault: meanwhile("PATCH", 2, unsaid),
			want: lines(at5, judge, start, verify, "forget"), said: back},
		{name: "it goes back where the answer is lost, and kubectl away for long", code: 1, want: lines(at5, start, verify, "forget"), said: "canary.sh: cannot change the traffic: …\n" + back,
			fault: func(s *stage, method string, n int) (int, int) {
				if method == "PATCH" && n == 1 {
					s.calls["GET"] = 1000
					return 0, -1
				}
				return map[bool]int{true: 500}[method == "GET" && n > 1000 && n <= 1012], 0
			}},
		{name: "it minds no failure of kubectl now and then", args: "--steps 5", want: lines(at5, judge, "forget"),
			fault: func(s *stage, method string, n int) (int, int) {
				return map[bool]int{true: 500}[method == "GET" && n%3 == 0], 0
			}},
		{name: "it moves nothing if it may not", code: 1, want: verify, fault: func(s *stage, method string, n int) (int, int) { return map[string]int{"PATCH": 403}[method], 0 },
			said: "canary.sh: cannot change the traffic: …\n" + strings.Replace(back, "canary.sh\n", "kubectl-client-side-apply\n", 1)},
		{name: "it fails where a controller has undone a step", code: 1, want: lines(at5, judge, "argocd-controller: "+start, verify, "forget"),
			answers: func(s *stage, call string, n int) int { failing(1, undo)(s, call, n); return 0 }, said: strings.Replace(back, "canary.sh\n", "argocd-controller\n", 1)},
		{name: "it keeps somebody else's edit, found by a look", code: 1, want: lines(at5, judge, "kubectl-edit: "+other), said: theirs,
			answers: func(s *stage, call string, n int) int { failing(1, rewrite)(s, call, n); return 0 }},
		{name: "it keeps somebody else's edit, found by a failure", code: 1, want: lines(at5, judge, "kubectl-edit: "+other), said: theirs, answers: failing(1, rewrite)},
		{name: "it keeps somebody else's edit, written just before its own", code: 1, want: lines(at5, judge, "kubectl-edit: "+other),
			fault: meanwhile("PATCH", 2, func(s *stage) (int, int) { rewrite(s); return 0, 0 }),
			said:  "canary.sh: cannot change the traffic: kubectl-edit has changed it\n" + theirs},
		{name: "it leaves the Service to another canary that was quicker", code: 1, want: at5,
			fault: meanwhile("PATCH", 1, func(s *stage) (int, int) { s.edit("canary.sh", at5); s.kept = start + " by:1"; return 0, 0 }),
			said:  "canary.sh: cannot change the traffic: canary.sh has changed it\ncanary.sh: did NOT put back the traffic of before: another canary.sh moves it now\n"},
		{name: "it refuses a Service that is not there", code: 2, fault: func(*stage, string, int) (int, int) { return 404, 0 }, want: "-", said: "canary.sh: kubectl cannot get the Service stock-service-example\n" + still},
		{name: "it refuses all traffic on the latest revision", code: 2, traffic: "@latest,latest,100", said: "canary.sh: s-v3 has 100%" + already},
		{name: "it refuses all traffic on its name", code: 2, traffic: "s-v1,v1,0 @latest,latest,0 s-v3,,100", said: "canary.sh: s-v3 has 100%" + already},
		{name: "it refuses steps that lead nowhere", code: 2, traffic: "s-v1,v1,50 @latest,latest,0 s-v3,,50", args: "--steps 25", said: "canary.sh: s-v3 has 50%" + already},
		{name: "it refuses no tag latest", code: 2, traffic: "s-v1,,100", want: "-", said: noTag},
		{name: "it refuses a tag latest on a name", code: 2, traffic: "s-v1,,100 s-v2,latest,0", want: "-", said: noTag},
		{name: "it refuses what is edited during the preview", code: 2, want: "kubectl-edit: " + other, said: changed,
			answers: func(s *stage, call string, n int) int { rewrite(s); return 0 }},
		{name: "it refuses a new revision that is broken", code: 2, answers: func(s *stage, call string, n int) int { breaks(s); return 0 }, said: changed},
		{name: "it waits until Knative has taken up the apply right before it", args: "--steps 5", want: lines(at5, judge, "forget"), fault: func(s *stage, method string, n int) (int, int) {
			s.behind = method == "GET" && n < 3
			return 0, 0
		}},
		{name: "it previews when a gradual rollout is over", code: 2, traffic: "@latest,latest,100", fault: func(s *stage, method string, n int) (int, int) {
			s.reason = map[bool]string{true: "RolloutInProgress"}[n < 3]
			return 0, 0
		}, said: "canary.sh: waiting for a gradual rollout: it moves the tag latest, too\ncanary.sh: s-v3 has 100%" + already},
		{name: "it refuses a path that cannot be asked", code: 2, answers: func(*stage, string, int) int { return 2 }, want: lines(asIs, asIs), said: still},
		{name: "it refuses percentages that are not whole", code: 2, args: "--steps 12.5", want: "-", said: rising},
		{name: "it refuses steps that fall", code: 2, args: "--steps 50\u00a05", want: "-", said: rising},
		{name: "it refuses no steps", code: 2, args: "--steps \u00a0", want: "-", said: "canary.sh: --steps needs a value: see --help\n"},
		{name: "it refuses a pause that is none", code: 2, args: "--pause 5m", want: "-", said: "canary.sh: --pause is a number up to 99999, not \"5m\": see --help\n"},
		{name: "it refuses an option without its value", code: 2, args: "--check", want: "-", said: "canary.sh: --check needs a value: see --help\n"},
		{name: "it refuses an option that it does not know", code: 2, args: "--tag v1", want: "-", said: "canary.sh: there is no option \"--tag\": see --help\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := &stage{traffic: tt.traffic, answers: tt.answers, fault: tt.fault}
			s.open(t)
			args := strings.Split("--preview 0 "+tt.args, " ")
			for i := range args {
				args[i] = strings.ReplaceAll(args[i], "\u00a0", " ")
			}
			got := finished(t, s.command(t, slices.DeleteFunc(args, func(a string) bool { return a == "" })...))
			happened := s.happened()
			if _, asked, ok := strings.Cut(happened+"\n", asIs+"\n"); ok {
				happened = strings.TrimSuffix(asked, "\n")
			} else if _, asked, ok := strings.Cut(happened, "@token\n"); ok {
				happened = asked
			} else if happened == "" {
				happened = "-"
			}
			if got.code != tt.code || happened != tt.want || said(got.stderr) != tt.said {
				t.Errorf("got\n%v%s\nwant exit %d\n%s\n%s", got, happened, tt.code, tt.want, tt.said)
			}
		})
	}
}

// While the traffic moves, the others have their part of the rest, to less than
// one percent, and all have 100.
func TestCanaryTakesTheRestInProportion(t *testing.T) {
	functions := strings.TrimSuffix(read(t, "scripts/canary.sh"), "main \"$@\"\n")
	cmd := exec.Command("bash", "-c", functions+`before="s-v1,,7 s-v2,b,13 @latest,latest,0 s-v4,c,80" new=s-v3
		for percent in {1..100}; do share s-v3 $percent && echo "$list"; done`)
	got := strings.Split(strings.TrimSpace(finished(t, cmd).stdout), "\n")
	before := map[string]int{"s-v1": 7, "s-v2": 13, "s-v4": 80}
	if len(got) != 100 {
		t.Fatalf("%d lists, want 100", len(got))
	}
	for i, list := range got {
		sum, part := 0, 0
		for entry := range strings.FieldsSeq(list) {
			field := strings.Split(entry, ",")
			fmt.Sscan(field[2], &part)
			sum += part
			want := float64(before[field[0]]*(99-i)) / 100
			if field[0] == "s-v3" {
				want = float64(i + 1)
			}
			if off := float64(part) - want; off <= -1 || off >= 1 {
				t.Errorf("%s in %q, want about %.1f", entry, list, want)
			}
		}
		if sum != 100 {
			t.Errorf("%q is %d%% in all", list, sum)
		}
	}
}

// hanging lets one call of run-test.sh hang.
func hanging(call string) func(*stage, string, int) int {
	return func(s *stage, c string, n int) int {
		if c == call {
			s.mu.Unlock()
			<-s.hang
			s.mu.Lock()
		}
		return 0
	}
}

// A signal at any moment puts the traffic back, once, and leaves nothing behind.
func TestCanaryIsInterrupted(t *testing.T) {
	moments := []struct {
		name, args string
		answers    func(s *stage, call string, n int) int
		until      string // the event to wait for
		want       string
	}{
		{"in the preview", "", hanging(preview), preview, lines(asIs, preview)},
		{"in a step", "", hanging(judge), judge, lines(asIs, preview, at5, judge, start, verify, "forget")},
		{"in a pause", "--pause=50", nil, judge, lines(asIs, preview, at5, judge, start, verify, "forget")},
		{"in a check", "--check=sleep 50; true", nil, judge, lines(asIs, preview, at5, judge, start, verify, "forget")},
		{"on the way back", "", failing(1, nothing), start, lines(asIs, preview, at5, judge, start, verify, "forget")},
	}
	for _, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP} {
		for _, m := range moments {
			t.Run(sig.String()+" "+m.name, func(t *testing.T) {
				t.Parallel()
				if signal.Ignored(sig) {
					t.Skip("this signal is ignored here, and so by what starts from here")
				}
				s, tmp, out := &stage{answers: m.answers}, t.TempDir(), strings.Builder{}
				s.open(t)
				cmd := s.command(t, slices.DeleteFunc(strings.SplitN(m.args, "=", 2), func(a string) bool { return a == "" })...)
				again := filepath.Join(s.dir, "again") // before each command of finish: timeout(1) sends two at once
				write(t, again, fmt.Sprintf(`set -T; trap '[[ ${FUNCNAME:-} != finish ]] || kill -%d $$' DEBUG`, sig))
				cmd.Env = append(cmd.Env, "TMPDIR="+tmp, "BASH_ENV="+again)
				cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
				cmd.Stdout, cmd.Stderr = &out, &out
				if err := cmd.Start(); err != nil {
					t.Fatal(err)
				}
				s.await(t, m.until)
				time.Sleep(200 * time.Millisecond)
				to := map[bool]int{true: -1, false: 1}[sig == syscall.SIGINT] * cmd.Process.Pid // as a terminal sends it
				syscall.Kill(to, sig)
				cmd.Wait()
				got := strings.ReplaceAll(s.happened(), lines(verify, verify), verify) // a signal may end its wait: it asks again
				if cmd.ProcessState.ExitCode() != 1 || got != m.want || strings.Contains(out.String(), "erminated") {
					t.Errorf("exit status %d, want 1\n%s%s\nwant\n%s", cmd.ProcessState.ExitCode(), &out, got, m.want)
				}
				noneLeft(t, tmp)
			})
		}
	}
}

// Where the canary itself is killed, the Service says what was before.
func TestCanaryIsKilled(t *testing.T) {
	s := &stage{answers: hanging(judge)}
	s.open(t)
	cmd := s.command(t)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	s.await(t, judge)
	cmd.Process.Kill()
	cmd.Wait()
	s.created = "s-v4" // which starts
	before, after := lines(asIs, preview, at5, judge), lines(asIs, preview, at5, judge, start, verify, "forget")
	for _, run := range []struct {
		arg  string
		code int
		said string
		want string
	}{
		{"--steps=5", 2, "canary.sh: a release was cut off, or is under way. The traffic is 47% s-v1 (v1), 48% s-v2 (v2), 0% @latest (latest), 5% s-v3" + advice + "canary.sh: this run has moved no traffic\n", before},
		{"--put-back", 0, back, after},
		{"--put-back", 0, "canary.sh: no release was cut off: there is nothing to put back\n", after},
	} {
		got := finished(t, s.command(t, strings.Split(run.arg, "=")...))
		if got.code != run.code || said(got.stderr) != run.said || s.happened() != run.want {
			t.Errorf("%s\n%v%s\nwant exit %d\n%s%s", run.arg, got, s.happened(), run.code, run.said, run.want)
		}
	}
}

// What it cannot say must not change what it does.
func TestCanaryCannotSpeak(t *testing.T) {
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Skip("needs /dev/full: ", err)
	}
	s := new(stage)
	s.open(t)
	cmd := s.command(t, "--put-back")
	cmd.Stderr = full
	if err := cmd.Run(); err != nil || s.happened() != "" {
		t.Errorf("%v\n%s", err, s.happened())
	}
}
