package test

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
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
// that asks the test what it found. Traffic is written as the canary writes it:
// REVISION,TAG,PERCENT for each entry, with @latest for what follows the latest
// revision.

const (
	start = "s-v1,v1,50 s-v2,v2,50 @latest,latest,0" // as revision-v3.yaml has it
	at5   = "s-v1,v1,47 s-v2,v2,48 @latest,latest,0 s-v3,,5"
	at25  = "s-v1,v1,37 s-v2,v2,38 @latest,latest,0 s-v3,,25"
	at50  = "s-v1,v1,25 s-v2,v2,25 @latest,latest,0 s-v3,,50"
	at100 = "s-v1,v1,0 s-v2,v2,0 @latest,latest,0 s-v3,,100"
	kept  = "knative-sample.github.io/traffic-before-canary"

	asIs   = "--path /"
	look50 = "--path / --tag latest --requests 50 --fail-fast"
	judge  = "--path / --requests 300 --enough --fail-fast --failures-of s-v3"
	verify = "--path / --requests 100 --enough --fail-fast --failures-of s-v3"
	putIn  = "canary.sh: the gateway has the traffic of before, set by canary.sh\n"
)

// scenario is a Knative Service as the canary finds it, what the canary is
// called with, and what happens.
type scenario struct {
	traffic, latest, kept string // the revision is s-v3 if it is not said; kept is the annotation
	args                  []string
	answers               func(s *stage, call string, n int) int                   // run-test.sh's exit status at its nth such call
	fault                 func(s *stage, method string, n int) (before, after int) // a status in place of an edit or an answer; -1 cuts the connection
}

// stage is a scenario on its way.
type stage struct {
	scenario
	mu      sync.Mutex
	served  string // traffic
	reason  string // of Ready, if it is Unknown
	failed  string // revision
	writer  string
	version int
	calls   map[string]int
	events  []string
	stuck   bool // nothing more gets in force
	reads   int  // that a fault counts

	dir, server string
	hang        chan struct{} // is closed in the end
}

func (s *stage) object() object {
	state := ksvc{spec: s.traffic, latest: s.latest, ready: "True", routes: "True", edited: s.version}
	blocked := func(entry string) bool {
		return strings.HasPrefix(strings.ReplaceAll(entry, "@latest", s.latest), s.failed+",")
	}
	if s.failed != "" {
		state.ready = "False"
	}
	if s.stuck || s.failed != "" && slices.ContainsFunc(strings.Fields(s.traffic), blocked) {
		state.routes = "False"
	} else {
		s.served = strings.ReplaceAll(s.traffic, "@latest", s.latest)
	}
	if s.reason != "" {
		state.ready = "Unknown " + s.reason
	}
	state.status = s.served
	all := state.object()
	all["status"].(object)["latestReadyRevisionName"] = map[bool]string{true: "s-v2", false: s.latest}[s.failed == s.latest]
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

// edit changes the traffic as somebody else does.
func (s *stage) edit(writer, traffic string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.write(writer, traffic)
}

func (s *stage) write(writer, traffic string) {
	s.version++
	s.writer, s.traffic = writer, traffic
	s.events = append(s.events, strings.TrimPrefix(writer+": "+traffic, "canary.sh: "))
}

func (s *stage) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case "/run-test.sh":
		call := strings.NewReplacer(" --wait 60", "", " --wait 2", "").Replace(strings.TrimPrefix(r.FormValue("args"), "--context c "))
		n := s.count(call)
		s.mu.Lock()
		s.events = append(s.events, call)
		s.mu.Unlock()
		status := 0
		if s.answers != nil {
			status = s.answers(s, call, n)
		}
		fmt.Fprint(w, status)
	case knativeAPI + "/namespaces/default/services/stock-service-example":
		s.serveService(w, r)
	case knativeAPI + "/namespaces/default/revisions":
		var items []object
		for _, name := range []string{"s-v1", "s-v2", "s-v3"} {
			ready := map[bool]string{true: "False", false: "True"}[name == s.failed]
			items = append(items, object{"metadata": object{"name": name}, "status": object{"conditions": []any{condition("Ready", ready)}}})
		}
		reply(w, 200, list(items))
	}
}

func (s *stage) count(what string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls[what]++
	return s.calls[what]
}

func (s *stage) serveService(w http.ResponseWriter, r *http.Request) {
	before, after := 0, 0
	if n := s.count(r.Method); s.fault != nil {
		before, after = s.fault(s, r.Method, n)
	}
	status, body := 200, object(nil)
	switch {
	case before != 0:
		status = before
	case r.Method == "PATCH":
		status = s.patch(r)
	}
	if after != 0 {
		status = after
	}
	s.mu.Lock()
	body = s.object()
	s.mu.Unlock()
	switch status {
	case -1:
		panic(http.ErrAbortHandler)
	case 403:
		body = failure(403, "Forbidden", "no")
	case 409:
		body = failure(409, "Conflict", "the object has been modified")
	case 404, 500:
		body = failure(status, "InternalError", "try again")
	}
	if r.Method == "PATCH" {
		w.Header().Set("Warning", `299 - "Kubernetes default value is insecure"`)
	}
	reply(w, status, body)
}

// patch is a merge patch of the traffic and of one annotation.
func (s *stage) patch(r *http.Request) int {
	var patch struct {
		Metadata struct {
			ResourceVersion string
			Annotations     map[string]*string
		}
		Spec *struct{ Traffic []any }
	}
	if json.NewDecoder(r.Body).Decode(&patch) != nil || r.Header.Get("Content-Type") != "application/merge-patch+json" {
		return 400
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if patch.Metadata.ResourceVersion != fmt.Sprint(s.version) {
		return 409
	}
	value, changes := patch.Metadata.Annotations[kept]
	if patch.Spec != nil {
		s.write(r.FormValue("fieldManager"), words(patch.Spec.Traffic))
	} else if changes && value == nil {
		s.version++
		s.events = append(s.events, "forget")
	}
	if changes {
		s.kept = ""
		if value != nil {
			s.kept = *value
		}
	}
	return 200
}

// traffic is a list as JSON has it, and words the other way round.
func traffic(list string) []any { return entries(list, "") }

func words(traffic []any) string {
	var all []string
	for _, e := range traffic {
		e := e.(object)
		name, _ := e["revisionName"].(string)
		if name == "" {
			name = "@latest"
		}
		tag, _ := e["tag"].(string)
		all = append(all, fmt.Sprintf("%s,%s,%v", name, tag, e["percent"]))
	}
	return strings.Join(all, " ")
}

// open starts the stand-ins.
func (s *stage) open(t *testing.T) {
	s.traffic, s.latest = cmp.Or(s.traffic, start), cmp.Or(s.latest, "s-v3")
	s.served, s.writer, s.version = s.traffic, "kubectl-client-side-apply", 1
	s.calls, s.hang = map[string]int{}, make(chan struct{})
	s.dir = t.TempDir()
	if err := os.Mkdir(filepath.Join(s.dir, "scripts"), 0o755); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(s.dir, "scripts", "canary.sh"), read(t, "scripts/canary.sh"))
	write(t, filepath.Join(s.dir, "run-test.sh"), `exit "$(curl -qsG "$STUB_SERVER/run-test.sh" --data-urlencode "args=$*")"`)
	link(t, stub(t).path, filepath.Join(s.dir, "kubectl"))
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
	return command(t, kubectl{"stub", filepath.Join(s.dir, "only-in-context")}, s.server, filepath.Join(s.dir, "scripts", "canary.sh"), args, nil)
}

func (s *stage) run(t *testing.T) result {
	s.open(t)
	return finished(t, s.command(t, s.args...))
}

func (s *stage) happened() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return lines(s.events...)
}

func TestCanaryMovesTheTrafficInSteps(t *testing.T) {
	quick := func(steps string) []string { return []string{"--preview", "0", "--steps", steps} }
	tests := []struct {
		name string
		scenario
		want []string // what happened, in its order
	}{
		{"from the article's 50/50", scenario{}, []string{
			asIs, look50, at5, judge, at25, judge, at50, judge, at100, judge, "forget",
		}},
		{"several paths, and options for run-test.sh and curl", scenario{args: []string{"--path", "/", "--path", "/a*", "--preview", "9", "--steps", "50", "--requests", "20",
			"--allow", "1", "--within", "0.5", "--pause", "1", "--", "--header", "a b"}}, []string{
			"--path / --allow 1 --within 0.5 -- --header a b",
			"--path / --tag latest --requests 9 --fail-fast --allow 1 --within 0.5 -- --header a b",
			"--path /a* --allow 1 --within 0.5 -- --header a b",
			"--path /a* --tag latest --requests 9 --fail-fast --allow 1 --within 0.5 -- --header a b",
			at50,
			"--path / --requests 20 --enough --fail-fast --failures-of s-v3 --allow 1 --within 0.5 -- --header a b",
			"--path /a* --requests 20 --enough --fail-fast --failures-of s-v3 --allow 1 --within 0.5 -- --header a b", "forget",
		}},
		{"of revisions that Knative has named", scenario{traffic: "s-v1,,100 @latest,latest,0", args: quick("5 100")}, []string{
			asIs, "s-v1,,95 @latest,latest,0 s-v3,,5", judge, "@latest,latest,0 s-v3,,100", judge, "forget",
		}},
		{"from where the new revision has a share, by its name", scenario{traffic: "s-v1,v1,40 s-v2,v2,30 s-v3,v3,30 @latest,latest,0", args: quick("5 25 50 100")}, []string{
			asIs, "s-v1,v1,28 s-v2,v2,22 s-v3,v3,0 @latest,latest,0 s-v3,,50", judge,
			"s-v1,v1,0 s-v2,v2,0 s-v3,v3,0 @latest,latest,0 s-v3,,100", judge, "forget",
		}},
		{"from where it has a share without a tag", scenario{traffic: "s-v1,,70 @latest,latest,0 s-v3,,30", args: quick("30 31")}, []string{
			asIs, "s-v1,,69 @latest,latest,0 s-v3,,31", judge, "forget",
		}},
		{"from where it has a share as the latest revision", scenario{traffic: "s-v1,,70 @latest,latest,30", args: quick("30 40")}, []string{
			asIs, "s-v1,,60 @latest,latest,0 s-v3,,40", judge, "forget",
		}},
		{"with the tags of previews; what has neither percent nor tag goes", scenario{traffic: "s-v1,pr-1,1 s-v2,,99 s-v3,pr-2,0 s-v0,,0 @latest,latest,0", args: quick("50")}, []string{
			asIs, "s-v1,pr-1,0 s-v2,,50 s-v3,pr-2,0 @latest,latest,0 s-v3,,50", judge, "forget",
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := &stage{scenario: tt.scenario}
			got := s.run(t)
			if got.code != 0 || strings.Join(s.events, "\n") != strings.Join(tt.want, "\n") {
				t.Errorf("got\n%v%s\nwant\n%s", got, strings.Join(s.events, "\n"), strings.Join(tt.want, "\n"))
			}
		})
	}
}

func TestCanaryGoesBack(t *testing.T) {
	const withoutLatest = "s-v1,v1,50 s-v2,v2,50"
	const other = "s-v1,v1,100 @latest,latest,0"
	// fails is a judgement at its nth step, after which something happens
	fails := func(at int, then func(s *stage)) func(*stage, string, int) int {
		return func(s *stage, call string, n int) int {
			if call != judge || n != at {
				return 0
			}
			if then != nil {
				then(s)
			}
			return 1
		}
	}
	passes := func(then func(s *stage)) func(*stage, string, int) int {
		failing := fails(1, then)
		return func(s *stage, call string, n int) int { failing(s, call, n); return 0 }
	}
	breaks := func(s *stage) { s.failed = "s-v3" }
	// cut cuts the connection of the nth edit, before or after it is made
	cut := func(method string, at int, made bool) func(*stage, string, int) (int, int) {
		return func(s *stage, m string, n int) (int, int) {
			switch {
			case m != method || n != at:
				return 0, 0
			case made:
				return 0, -1
			}
			return -1, 0
		}
	}
	const theirs = ` The traffic is 100% s-v1 (v1), 0% @latest (latest), and was 50% s-v1 (v1), 50% s-v2 (v2), 0% @latest (latest). To go back: canary.sh --put-back. ` +
		"To keep what is: kubectl annotate ksvc stock-service-example --namespace default --context c knative-sample.github.io/traffic-before-canary-\n"
	tests := []struct {
		name string
		scenario
		code int
		want string // what happened after the preview
		said string
	}{
		{"not if the preview fails, as nothing has moved", scenario{answers: func(s *stage, call string, n int) int { return strings.Count(call, "--tag") }}, 1, "", ""},
		{"at the first step", scenario{answers: fails(1, nil)}, 1, lines(at5, judge, start, verify, "forget"), putIn},
		{"at a later step", scenario{answers: fails(2, nil)}, 1, lines(at5, judge, at25, judge, start, verify, "forget"), putIn},
		{"without the revision that crashes, and the tag that follows it", scenario{answers: fails(2, breaks)}, 1,
			lines(at5, judge, at25, judge, withoutLatest, verify, "forget"),
			"canary.sh: the gateway has the traffic of before, set by canary.sh, but for what has failed: s-v3\n"},
		{"also if it crashes only when it has been put back", scenario{answers: fails(1, nil), fault: func(s *stage, method string, n int) (int, int) {
			if method == "PATCH" && n == 2 {
				breaks(s)
			}
			return 0, 0
		}}, 1, lines(at5, judge, start, withoutLatest, verify, "forget"),
			"canary.sh: the gateway has the traffic of before, set by canary.sh, but for what has failed: s-v3\n"},
		{"with what the revision that crashes had before, for the others", scenario{traffic: "s-v1,,20 s-v2,b,10 s-v3,c,70 @latest,latest,0", args: []string{"--steps", "90"}, answers: fails(1, breaks)}, 1,
			lines("s-v1,,6 s-v2,b,4 s-v3,c,0 @latest,latest,0 s-v3,,90", judge, "s-v1,,66 s-v2,b,34", verify, "forget"),
			"canary.sh: the gateway has the traffic of before, set by canary.sh, but for what has failed: s-v3\n"},
		{"until the gateway has it", scenario{answers: func(s *stage, call string, n int) int {
			if call == judge || call == verify && n == 1 {
				return 1
			}
			return 0
		}}, 1, lines(at5, judge, start, verify, verify, "forget"), putIn},
		{"and tells if the gateway does not have it", scenario{args: []string{"--wait", "2"}, answers: func(s *stage, call string, n int) int {
			if call == judge {
				s.stuck = true
				return 1
			}
			return 0
		}}, 1, lines(at5, judge, start),
			"canary.sh: did NOT put back the traffic of before: the Service has it, but it is not in force (ConfigurationsReady=True Ready=True RoutesReady=False)." +
			strings.Replace(theirs, "100% s-v1 (v1),", "50% s-v1 (v1), 50% s-v2 (v2),", 1)},
		{"after an answer that was lost while the edit was made it goes on", scenario{fault: cut("PATCH", 1, true), args: []string{"--steps", "5"}}, 0, lines(at5, judge, "forget"), ""},
		{"after an edit that was lost it is made again", scenario{fault: cut("PATCH", 1, false), args: []string{"--steps", "5"}}, 0, lines(at5, judge, "forget"), ""},
		{"after an answer that was lost on the way back", scenario{answers: fails(1, nil), fault: cut("PATCH", 2, true)}, 1, lines(at5, judge, start, verify, "forget"), putIn},
		{"after an edit whose answer was lost, and kubectl away for long", scenario{fault: func(s *stage, method string, n int) (before, after int) {
			if method == "PATCH" && n == 1 {
				s.reads = 5
				return 0, -1
			}
			if s.reads--; method == "GET" && s.reads >= 0 {
				return 500, 0
			}
			return 0, 0
		}}, 1, lines(at5, start, verify, "forget"), "canary.sh: cannot change the traffic: …\n" + putIn},
		{"not over an edit that puts it back, found by a look", scenario{answers: passes(func(s *stage) { s.edit("argocd-controller", start) })}, 1,
			lines(at5, judge, "argocd-controller: "+start, verify, "forget"), "canary.sh: the gateway has the traffic of before, set by argocd-controller\n"},
		{"not over somebody else's, found by a look", scenario{answers: passes(func(s *stage) { s.edit("kubectl-edit", other) })}, 1,
			lines(at5, judge, "kubectl-edit: "+other), "canary.sh: did NOT put back the traffic of before: kubectl-edit has changed it." + theirs},
		{"not over somebody else's, found by a failure", scenario{answers: fails(1, func(s *stage) { s.edit("kubectl-edit", other) })}, 1,
			lines(at5, judge, "kubectl-edit: "+other), "canary.sh: did NOT put back the traffic of before: kubectl-edit has changed it." + theirs},
		{"not over somebody else's, written while it edits", scenario{fault: func(s *stage, method string, n int) (int, int) {
			if method == "PATCH" && n == 2 {
				s.edit("kubectl-edit", other)
			}
			return 0, 0
		}}, 1, lines(at5, judge, "kubectl-edit: "+other), "canary.sh: cannot change the traffic: kubectl-edit has changed it\n" +
			"canary.sh: did NOT put back the traffic of before: kubectl-edit has changed it." + theirs},
		{"not if it may not change it at all", scenario{fault: func(s *stage, method string, n int) (int, int) {
			if method == "PATCH" {
				return 403, 0
			}
			return 0, 0
		}}, 1, verify, "canary.sh: cannot change the traffic: …\ncanary.sh: the gateway has the traffic of before, set by kubectl-client-side-apply\n"},
		{"not if kubectl fails now and then", scenario{args: []string{"--steps", "5"}, fault: func(s *stage, method string, n int) (int, int) {
			if method == "GET" && n%3 == 0 {
				return 500, 0
			}
			return 0, 0
		}}, 0, lines(at5, judge, "forget"), ""},
		{"if the check fails", scenario{args: []string{"--check", `[[ $SVC_NAME/$NAMESPACE/$REVISION/$PERCENT != stock-service-example/default/s-v3/25 ]]`}}, 1,
			lines(at5, judge, at25, judge, start, verify, "forget"), "canary.sh: --check exits with 1\n" + putIn},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := &stage{scenario: tt.scenario}
			s.args = append([]string{"--preview", "1"}, s.args...)
			got := s.run(t)
			if events := lines(s.events[min(2, len(s.events)):]...); got.code != tt.code || events != tt.want || canarySaid(got.stderr) != tt.said {
				t.Errorf("got\n%v%s\nwant exit %d\n%s\n%s", got, events, tt.code, tt.want, tt.said)
			}
		})
	}
}

func lines(all ...string) string { return strings.Join(all, "\n") }

var kubectlSays = regexp.MustCompile(`(cannot change the traffic:) .*(server|EOF).*`)

// canarySaid is what the canary itself says, but for what it does.
func canarySaid(stderr string) (said string) {
	for line := range strings.Lines(stderr) {
		if strings.HasPrefix(line, "canary.sh: ") && !strings.HasSuffix(line, "% of the traffic\n") && !strings.Contains(line, " of context c\n") {
			said += kubectlSays.ReplaceAllString(line, "$1 …")
		}
	}
	return said
}

// While the traffic moves, the others have their part of the rest, to less than
// one percent, and all have 100.
func TestCanaryTakesTheRestInProportion(t *testing.T) {
	functions := strings.TrimSuffix(read(t, "scripts/canary.sh"), "main \"$@\"\n")
	cmd := exec.Command("bash", "-c", functions+`before="s-v1,,7 s-v2,b,13 @latest,latest,0 s-v4,c,80" new=s-v3
		for percent in {1..100}; do share s-v3 $percent && echo "$list"; done`)
	got := strings.Split(strings.TrimSpace(finished(t, cmd).stdout), "\n")
	before := map[string]int{"s-v1": 7, "s-v2": 13, "s-v4": 80}
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
	if len(got) != 100 {
		t.Errorf("%d lists, want 100", len(got))
	}
}

func TestCanaryRefuses(t *testing.T) {
	const already = " of the traffic already: apply the next revision (see pin.sh --help)"
	const noTag = "no latestRevision: true has the tag latest: see pin.sh --help"
	tests := []struct {
		name string
		scenario
		said string
		want string // what it does meanwhile
	}{
		{"a Service that is not there", scenario{fault: func(*stage, string, int) (int, int) { return 404, 0 }}, "kubectl cannot get it", ""},
		{"all traffic on the latest revision", scenario{traffic: "@latest,latest,100"}, "s-v3 has 100%" + already, asIs},
		{"all traffic on its name", scenario{traffic: "s-v1,v1,0 @latest,latest,0 s-v3,,100"}, "s-v3 has 100%" + already, asIs},
		{"steps that lead nowhere", scenario{traffic: "s-v1,v1,50 @latest,latest,0 s-v3,,50", args: []string{"--steps", "5 25"}}, "s-v3 has 50%" + already, asIs},
		{"no tag latest", scenario{traffic: "s-v1,,100"}, noTag, ""},
		{"a tag latest on a name", scenario{traffic: "s-v1,,100 s-v2,latest,0"}, noTag, ""},
		{"an edit during the preview", scenario{answers: func(s *stage, call string, n int) int { s.edit("kn", "s-v1,,100 @latest,latest,0"); return 0 }},
			"the Service is not as it was, or s-v3 is not ready", lines(asIs, "kn: s-v1,,100 @latest,latest,0")},
		{"a new revision that is broken", scenario{answers: func(s *stage, call string, n int) int { s.failed = "s-v3"; return 0 }},
			"the Service is not as it was, or s-v3 is not ready", asIs},
		{"to preview in a gradual rollout, until it is over", scenario{traffic: "@latest,latest,100", fault: func(s *stage, method string, n int) (int, int) {
			s.reason = map[bool]string{true: "RolloutInProgress"}[n < 3]
			return 0, 0
		}}, "waiting for Knative's gradual rollout, which moves the tag latest, too\ncanary.sh: s-v3 has 100%" + already, asIs},
		{"a path that cannot be asked", scenario{answers: func(*stage, string, int) int { return 2 }}, "", lines(asIs, asIs, asIs)},
		{"percentages that are not whole", scenario{args: []string{"--steps", "5 12.5"}}, "--steps are rising whole percentages: see --help", ""},
		{"percentages above 100", scenario{args: []string{"--steps", "5 101"}}, "--steps are rising whole percentages: see --help", ""},
		{"steps that fall", scenario{args: []string{"--steps", "50 5"}}, "--steps are rising whole percentages: see --help", ""},
		{"no steps", scenario{args: []string{"--steps", " "}}, "--steps and --requests must not be nothing: see --help", ""},
		{"no requests", scenario{args: []string{"--requests", "0"}}, "--steps and --requests must not be nothing: see --help", ""},
		{"a pause that is none", scenario{args: []string{"--pause", "5m"}}, `--pause is a number up to 99999, not "5m": see --help`, ""},
		{"an option without its value", scenario{args: []string{"--check"}}, "--check needs a value: see --help", ""},
		{"an option that it does not know", scenario{args: []string{"--tag", "v1"}}, `there is no option "--tag": see --help`, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := &stage{scenario: tt.scenario}
			s.args = append([]string{"--preview", "0"}, s.args...)
			if tt.said != "" {
				tt.said = "canary.sh: " + tt.said + "\n"
			}
			if got := s.run(t); got.code != 2 || got.stdout != "" || canarySaid(got.stderr) != tt.said || s.happened() != tt.want {
				t.Errorf("got\n%v%s\nwant exit 2 and\n%s%s", got, s.happened(), tt.said, tt.want)
			}
		})
	}
}

// A signal at any moment puts the traffic back, once, and leaves nothing behind.
func TestCanaryIsInterrupted(t *testing.T) {
	hang := func(call string) func(*stage, string, int) int {
		return func(s *stage, c string, n int) int {
			if c == call {
				<-s.hang
			}
			return 0
		}
	}
	moments := []struct {
		name string
		scenario
		until string // the event to wait for
		want  string
	}{
		{"in the preview", scenario{answers: hang(look50)}, look50, lines(asIs, look50)},
		{"in a step", scenario{answers: hang(judge)}, judge, lines(asIs, look50, at5, judge, start, verify, "forget")},
		{"in a pause", scenario{args: []string{"--pause", "50"}}, judge, lines(asIs, look50, at5, judge, start, verify, "forget")},
		{"in a check", scenario{args: []string{"--check", "sleep 50; true"}}, judge, lines(asIs, look50, at5, judge, start, verify, "forget")},
		{"while the traffic is put back", scenario{answers: func(s *stage, call string, n int) int { return strings.Count(call, judge) }}, start,
			lines(asIs, look50, at5, judge, start, verify, "forget")},
	}
	for _, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP} {
		for _, m := range moments {
			t.Run(sig.String()+" "+m.name, func(t *testing.T) {
				t.Parallel()
				s, tmp := &stage{scenario: m.scenario}, t.TempDir()
				s.open(t)
				cmd := s.command(t, s.args...)
				cmd.Env = append(cmd.Env, "TMPDIR="+tmp)
				cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
				var out strings.Builder
				cmd.Stdout, cmd.Stderr = &out, &out
				if err := cmd.Start(); err != nil {
					t.Fatal(err)
				}
				for !strings.HasSuffix(s.happened(), m.until) {
					time.Sleep(5 * time.Millisecond)
				}
				time.Sleep(200 * time.Millisecond)
				to := cmd.Process.Pid
				if sig == syscall.SIGINT {
					to = -to // as a terminal sends it
				}
				syscall.Kill(to, sig)
				time.Sleep(2 * time.Millisecond)
				syscall.Kill(to, sig) // as timeout(1) does
				cmd.Wait()
				if got := s.happened(); cmd.ProcessState.ExitCode() != 1 || got != m.want {
					t.Errorf("exit status %d, want 1\n%s%s\nwant\n%s", cmd.ProcessState.ExitCode(), &out, got, m.want)
				}
				if strings.Contains(out.String(), "erminated") {
					t.Errorf("it shows bash's notice:\n%s", &out)
				}
				noneLeft(t, tmp)
			})
		}
	}
}

// Where the canary itself is killed, the Service says what was before.
func TestCanaryIsKilled(t *testing.T) {
	s := &stage{scenario: scenario{answers: func(s *stage, call string, n int) int {
		if call == judge {
			<-s.hang
		}
		return 0
	}}}
	s.open(t)
	cmd := s.command(t)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for !strings.HasSuffix(s.happened(), judge) {
		time.Sleep(5 * time.Millisecond)
	}
	cmd.Process.Kill()
	cmd.Wait()
	const cutOff = "canary.sh: a release was cut off, or is under way. The traffic is 47% s-v1 (v1), 48% s-v2 (v2), 0% @latest (latest), 5% s-v3, " +
		"and was 50% s-v1 (v1), 50% s-v2 (v2), 0% @latest (latest). To go back: canary.sh --put-back. " +
		"To keep what is: kubectl annotate ksvc stock-service-example --namespace default --context c knative-sample.github.io/traffic-before-canary-\n"
	for _, run := range []struct {
		args []string
		code int
		said string
		want string
	}{
		{nil, 2, cutOff, lines(asIs, look50, at5, judge)},
		{[]string{"--put-back"}, 0, putIn, lines(asIs, look50, at5, judge, start, verify, "forget")},
		{[]string{"--put-back"}, 0, "canary.sh: no release was cut off: there is nothing to put back\n", lines(asIs, look50, at5, judge, start, verify, "forget")},
	} {
		got := finished(t, s.command(t, run.args...))
		if got.code != run.code || canarySaid(got.stderr) != run.said || s.happened() != run.want {
			t.Errorf("%q\n%v%s\nwant exit %d\n%s%s", run.args, got, s.happened(), run.code, run.said, run.want)
		}
	}
}

func asJSON(v any) string { out, _ := json.Marshal(v); return string(out) }
