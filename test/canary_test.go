package test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// The canary runs beside a stand-in for the cluster's API server, and with two
// stand-ins for run-test.sh and latest-run-test.sh that write down how they are
// called. Traffic is written as the canary reads it, REVISION,TAG,PERCENT for
// each entry, where the latest revision has no name.

const (
	start     = "s-v1,v1,50 s-v2,v2,50 ,latest,0" // as revision-v3.yaml has it
	generated = "s-00001,,100 ,latest,0"
	pin       = "(in its traffic, name it with percent: 100, and add latestRevision: true with percent: 0 and tag: latest)"
	putBack   = "canary.sh: put back the traffic of before\n"
)

// release is a Service that the canary finds, and what it is called with.
type release struct {
	traffic   string
	latest    string   // revision, s-v3 if it is not said
	ready     string   // revision that is the latest to be ready, if it is another
	unready   string   // the Service's condition Ready, if it is not True
	observed  int      // its observed generation, if it is not 1
	env       []string // of the canary
	preview   string   // what latest-run-test.sh does after it was written down
	steps     []string // what run-test.sh does the first time, the second time...
	slow      bool     // each patch takes long to answer
	forbidden bool     // no patch is allowed
}

func TestCanaryMovesTheTrafficInSteps(t *testing.T) {
	tests := []struct {
		name string
		release
		want []string // what happened, in its order
	}{
		{"from the article's 50/50, with every path asked at every step", release{traffic: start}, []string{
			"preview / 50", "preview /stock/AAPL 50",
			"s-v1,v1,47 s-v2,v2,48 ,latest,0 s-v3,,5", "test / 300", "test /stock/AAPL 300",
			"s-v1,v1,37 s-v2,v2,38 ,latest,0 s-v3,,25", "test / 300", "test /stock/AAPL 300",
			"s-v1,v1,25 s-v2,v2,25 ,latest,0 s-v3,,50", "test / 300", "test /stock/AAPL 300",
			"s-v1,v1,0 s-v2,v2,0 ,latest,0 s-v3,,100", "test / 300", "test /stock/AAPL 300",
		}},
		{"set up by variables", release{traffic: start, env: []string{"PREVIEW=10", "STEPS=1 99", "PATHS=/etc/*", "N=20", "WITHIN=0.5", "PAUSE=1"}}, []string{
			"preview /etc/* 10 within 0.5",
			"s-v1,v1,49 s-v2,v2,50 ,latest,0 s-v3,,1", "test /etc/* 20 within 0.5",
			"s-v1,v1,0 s-v2,v2,1 ,latest,0 s-v3,,99", "test /etc/* 20 within 0.5",
		}},
		{"without a preview", release{traffic: start, env: []string{"PREVIEW=0", "STEPS=100", "PATHS=/"}}, []string{
			"s-v1,v1,0 s-v2,v2,0 ,latest,0 s-v3,,100", "test / 300",
		}},
		{"of revisions that Knative has named", release{traffic: generated, latest: "s-00002", env: quick("5 100")}, []string{
			"s-00001,,95 ,latest,0 s-00002,,5", "test / 300",
			"s-00001,,0 ,latest,0 s-00002,,100", "test / 300",
		}},
		{"from where the new revision has a share, by its name", release{traffic: "s-v1,v1,40 s-v2,v2,30 s-v3,v3,30 ,latest,0", env: quick("5 25 50 100")}, []string{
			"s-v1,v1,28 s-v2,v2,22 s-v3,v3,0 ,latest,0 s-v3,,50", "test / 300",
			"s-v1,v1,0 s-v2,v2,0 s-v3,v3,0 ,latest,0 s-v3,,100", "test / 300",
		}},
		{"from where it has a share without a tag", release{traffic: "s-v1,,70 ,latest,0 s-v3,,30", env: quick("30 31")}, []string{
			"s-v1,,69 ,latest,0 s-v3,,31", "test / 300",
		}},
		{"from where it has a share as the latest revision", release{traffic: "s-v1,,70 ,latest,30", env: quick("30 40")}, []string{
			"s-v1,,60 ,latest,0 s-v3,,40", "test / 300",
		}},
		{"with the tags of previews, and entries without a percent", release{traffic: "s-v1,pr-1,1 s-v2,,99 s-v3,pr-2,0 s-v0,old, ,latest,", env: quick("50")}, []string{
			"s-v1,pr-1,0 s-v2,,50 s-v3,pr-2,0 s-v0,old,0 ,latest,0 s-v3,,50", "test / 300",
		}},
	}
	for _, k := range kubectls(t) {
		for _, tt := range tests {
			t.Run(k.name+" "+tt.name, func(t *testing.T) {
				got, events := tt.run(t, k)
				if got.code != 0 || strings.Join(events, "\n") != strings.Join(tt.want, "\n") {
					t.Errorf("got\n%v%s\nwant\n%s", got, strings.Join(events, "\n"), strings.Join(tt.want, "\n"))
				}
			})
		}
	}
}

// quick leaves the preview out, and asks one path.
func quick(steps string) []string { return []string{"PREVIEW=0", "PATHS=/", "STEPS=" + steps} }

// At every percent the others have their part of the rest, to less than one
// percent, and all have 100.
func TestCanaryTakesTheRestInProportion(t *testing.T) {
	before := map[string]int{"s-v1": 7, "s-v2": 13, "s-v4": 80}
	var steps []string
	for percent := 1; percent <= 100; percent += 3 {
		steps = append(steps, fmt.Sprint(percent))
	}
	r := release{traffic: "s-v1,,7 s-v2,b,13 ,latest,0 s-v4,c,80", env: append(quick(strings.Join(steps, " ")), "N=1")}
	got, events := r.run(t, kubectls(t)[0])
	if got.code != 0 || len(events) != 2*len(steps) {
		t.Fatalf("%v%s", got, strings.Join(events, "\n"))
	}
	for i, step := range steps {
		var percent, sum, part int
		fmt.Sscan(step, &percent)
		for _, entry := range strings.Fields(events[2*i]) {
			field := strings.Split(entry, ",")
			fmt.Sscan(field[2], &part)
			sum += part
			want := float64(before[field[0]]*(100-percent)) / 100
			if field[0] == "s-v3" {
				want = float64(percent)
			}
			if off := float64(part) - want; off <= -1 || off >= 1 {
				t.Errorf("%s in %q, want about %.1f", entry, events[2*i], want)
			}
		}
		if sum != 100 {
			t.Errorf("%q is %d%% in all", events[2*i], sum)
		}
	}
}

func TestCanaryPutsTheTrafficBack(t *testing.T) {
	const step1, step2 = "s-v1,v1,47 s-v2,v2,48 ,latest,0 s-v3,,5", "s-v1,v1,37 s-v2,v2,38 ,latest,0 s-v3,,25"
	patch := func(traffic string) string {
		return `kubectl patch ksvc stock-service-example --namespace default --output jsonpath={.kind} --type json --patch '[{"op": "replace", "path": "/spec/traffic", "value": ` + asJSON(entries(traffic)) + `}]'`
	}
	other := "s-v1,v1,100 ,latest,0"
	told := "canary.sh: did NOT put back the traffic of before: somebody else has changed it, or kubectl failed. To do so: " +
		`kubectl patch ksvc stock-service-example --namespace default --type merge --patch '{"spec": {"traffic": ` + asJSON(entries(start)) + "}}'\n"
	tests := []struct {
		name string
		release
		code   int
		want   []string
		stderr string // what the canary says, but for the percents
	}{
		{"not if the preview fails, as nothing has moved", release{preview: "exit 1"}, 1, []string{"preview / 50"}, ""},
		{"not if the preview cannot be tried", release{preview: "exit 2"}, 2, []string{"preview / 50"}, ""},
		{"at the first step", release{env: quick("5 25"), steps: []string{"exit 1"}}, 1, []string{step1, "test / 300", start}, putBack},
		{"at a later step, which could not be tried", release{env: quick("5 25"), steps: []string{"", "exit 2"}}, 1,
			[]string{step1, "test / 300", step2, "test / 300", start}, putBack},
		{"at the second path", release{env: []string{"PREVIEW=0"}, steps: []string{"", "exit 1"}}, 1,
			[]string{step1, "test / 300", "test /stock/AAPL 300", start}, putBack},
		{"with what has no tag, as it was", release{traffic: "s-v1,,60 s-v1,,40 ,latest,", env: quick("5"), steps: []string{"exit 1"}}, 1,
			[]string{"s-v1,,57 s-v1,,38 ,latest,0 s-v3,,5", "test / 300", "s-v1,,60 s-v1,,40 ,latest,"}, putBack},
		{"not over somebody else's, found by the next step", release{env: quick("5 25"), steps: []string{patch(other)}}, 1,
			[]string{step1, "test / 300", other}, "canary.sh: cannot change the traffic: kubectl failed, or somebody else has changed it\n" + told},
		{"not over somebody else's, found by a failure", release{env: quick("5 25"), steps: []string{patch(other) + "; exit 1"}}, 1,
			[]string{step1, "test / 300", other}, told},
		{"not if it may not change it at all", release{env: quick("5"), forbidden: true}, 1, nil,
			"canary.sh: cannot change the traffic: kubectl failed, or somebody else has changed it\n"},
	}
	for _, k := range kubectls(t) {
		for _, tt := range tests {
			t.Run(k.name+" "+tt.name, func(t *testing.T) {
				if tt.traffic == "" {
					tt.traffic = start
				}
				got, events := tt.run(t, k)
				if got.code != tt.code || strings.Join(events, "\n") != strings.Join(tt.want, "\n") || canarySaid(got.stderr) != tt.stderr {
					t.Errorf("got\n%v%s\nwant exit %d\n%s\n%s", got, strings.Join(events, "\n"), tt.code, strings.Join(tt.want, "\n"), tt.stderr)
				}
			})
		}
	}
}

// canarySaid is what the canary itself says, but for the percents.
func canarySaid(stderr string) (said string) {
	for line := range strings.Lines(stderr) {
		if strings.HasPrefix(line, "canary.sh: ") && !strings.HasSuffix(line, "% of the traffic\n") {
			said += line
		}
	}
	return said
}

func TestCanaryRefuses(t *testing.T) {
	const service = "the Service stock-service-example in namespace default"
	tests := []struct {
		name string
		release
		want string
	}{
		{"a Service that is not there", release{env: []string{"SVC_NAME=missing"}}, "kubectl cannot get the Service missing in namespace default"},
		{"all traffic on the latest revision", release{traffic: ",latest,100"}, "s-v3 has 100% of the traffic already: before the next revision, pin this one " + pin},
		{"all traffic on the new revision's name", release{traffic: "s-v1,v1,0 ,latest,0 s-v3,,100"}, "s-v3 has 100% of the traffic already: before the next revision, pin this one " + pin},
		{"steps that lead nowhere", release{traffic: "s-v1,v1,50 ,latest,0 s-v3,,50", env: []string{"STEPS=5 25"}}, "s-v3 has 50% of the traffic already: before the next revision, pin this one " + pin},
		{"no tag latest", release{traffic: ",,100"}, service + " has no tag latest for a preview: pin what runs " + pin},
		{"a tag latest that is pinned", release{traffic: "s-v1,,100 s-v2,latest,0"}, service + " has no tag latest for a preview: pin what runs " + pin},
		{"a new revision that is broken", release{ready: "s-v2", unready: "False"}, "the latest revision, s-v3, is not ready: run-test.sh says why"},
		{"a route that is not ready", release{unready: "Unknown"}, service + " is not Ready, or was edited meanwhile: run-test.sh says why"},
		{"an edit that Knative has not taken up", release{observed: 2}, service + " is not Ready, or was edited meanwhile: run-test.sh says why"},
		{"percents that are not whole", release{env: []string{"STEPS=5 12.5"}}, `STEPS is a list of whole percents, not "5 12.5": see -h`},
		{"percents above 100", release{env: []string{"STEPS=5 101"}}, `STEPS is a list of whole percents, not "5 101": see -h`},
		{"no steps", release{env: []string{"STEPS= "}}, `STEPS is a list of whole percents, not " ": see -h`},
		{"no paths", release{env: []string{"PATHS= "}}, `PATHS is a list of paths that begin with /, not " ": see -h`},
		{"no requests", release{env: []string{"N=0"}}, `N is a number of requests, not "0": see -h`},
		{"a pause that is none", release{env: []string{"PAUSE=5m"}}, `PAUSE is a number of seconds, not "5m": see -h`},
	}
	for _, k := range kubectls(t) {
		for _, tt := range tests {
			t.Run(k.name+" "+tt.name, func(t *testing.T) {
				if tt.traffic == "" {
					tt.traffic = start
				}
				got, events := tt.run(t, k)
				if got.code != 2 || got.stdout != "" || canarySaid(got.stderr) != "canary.sh: "+tt.want+"\n" {
					t.Errorf("got\n%vwant exit 2 and\n%s", got, tt.want)
				}
				for _, e := range events {
					if !strings.HasPrefix(e, "preview ") {
						t.Errorf("it did %q", e)
					}
				}
			})
		}
	}
}

func TestCanaryExplainsItself(t *testing.T) {
	path := tools(t, scriptTools...)
	got := runIn(t, path, "examples/canary.sh", []string{"-h"}, nil)
	if got.code != 0 || got.stderr != "" || !strings.HasPrefix(got.stdout, "Takes the latest revision") || !strings.Contains(got.stdout, "\n  STEPS ") || strings.Contains(got.stdout, "set -") {
		t.Errorf("-h: %v", got)
	}
	got = runIn(t, path, "examples/canary.sh", []string{"5", "25"}, nil)
	if want := (result{2, "", "canary.sh: it takes no arguments, but variables: see -h\n"}); got != want {
		t.Errorf("got\n%v\nwant\n%v", got, want)
	}
}

// A signal at any moment puts the traffic back, once, and leaves nothing behind.
func TestCanaryIsInterrupted(t *testing.T) {
	const step1 = "s-v1,v1,47 s-v2,v2,48 ,latest,0 s-v3,,5"
	const busy = "exec sleep 30"
	moments := []struct {
		name string
		release
		until string // the event to wait for
		want  []string
	}{
		{"in the preview", release{preview: busy}, "preview / 50", []string{"preview / 50"}},
		{"while the traffic changes", release{env: quick("5 25"), slow: true}, step1, []string{step1, start}},
		{"in a step", release{env: quick("5 25"), steps: []string{busy}}, "test / 300", []string{step1, "test / 300", start}},
		{"in a pause", release{env: append(quick("5 25"), "PAUSE=30")}, "test / 300", []string{step1, "test / 300", start}},
		{"while the traffic is put back", release{env: quick("5 25"), steps: []string{"exit 1"}, slow: true}, start, []string{step1, "test / 300", start}},
	}
	for _, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP} {
		for _, m := range moments {
			t.Run(sig.String()+" "+m.name, func(t *testing.T) {
				skipIfIgnored(t, sig)
				m.traffic = start
				s := m.stage(t)
				path := tools(t, scriptTools...)
				link(t, self(t), filepath.Join(path, "kubectl"))
				cmd := command(t, path, s.script, nil, append(s.env, "STUB_SERVER="+s.server.URL))
				cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
				var out strings.Builder
				cmd.Stdout, cmd.Stderr = &out, &out
				if err := cmd.Start(); err != nil {
					t.Fatal(err)
				}
				for !strings.HasSuffix(strings.Join(s.events(), "\n"), m.until) {
					time.Sleep(5 * time.Millisecond)
				}
				time.Sleep(100 * time.Millisecond)
				began, to := time.Now(), cmd.Process.Pid
				if sig == syscall.SIGINT {
					to = -to // as a terminal sends it
				}
				syscall.Kill(to, sig)
				time.Sleep(2 * time.Millisecond)
				syscall.Kill(to, sig) // as timeout(1) does
				cmd.Wait()
				if took := time.Since(began); took > 2*time.Second {
					t.Errorf("took %v", took)
				}
				if got := s.events(); cmd.ProcessState.ExitCode() != 1 || strings.Join(got, "\n") != strings.Join(m.want, "\n") {
					t.Errorf("exit status %d, want 1\n%s%s\nwant\n%s", cmd.ProcessState.ExitCode(), &out, strings.Join(got, "\n"), strings.Join(m.want, "\n"))
				}
				if told := strings.Count(out.String(), putBack); told != strings.Count(strings.Join(m.want, "\n"), start) {
					t.Errorf("it says %d times that it put the traffic back:\n%s", told, &out)
				}
				if strings.Contains(out.String(), "erminated") {
					t.Errorf("it shows bash's notice:\n%s", &out)
				}
				for gone := time.Now().Add(time.Second); syscall.Kill(-cmd.Process.Pid, 0) != syscall.ESRCH; time.Sleep(10 * time.Millisecond) {
					if time.Now().After(gone) {
						t.Fatal("a process is left")
					}
				}
			})
		}
	}
}

// stage is a release with its stand-ins, ready to run.
type stage struct {
	server *httptest.Server
	script string
	env    []string
	log    string // the file that everything that happens is written to
}

func (r release) stage(t *testing.T) stage {
	dir := t.TempDir()
	s := stage{script: filepath.Join(dir, "examples", "canary.sh"), log: filepath.Join(dir, "events")}
	canary, err := os.ReadFile("examples/canary.sh")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Dir(s.script), 0o755); err != nil {
		t.Fatal(err)
	}
	write(t, s.script, string(canary))
	write(t, s.log, "")
	stub := func(what, then string) string {
		return `echo "` + what + ` ${*:2}${WITHIN:+ within $WITHIN}" >>"$EVENTS"` + "\n" + then + "\n"
	}
	write(t, filepath.Join(dir, "latest-run-test.sh"), stub("preview", r.preview))
	steps := `case $(awk '/^test/ {n++} END {print n}' "$EVENTS") in` + "\n"
	for i, step := range r.steps {
		steps += fmt.Sprintf("%d) %s ;;\n", i+1, step)
	}
	write(t, filepath.Join(dir, "run-test.sh"), stub("test", steps+"esac"))
	s.env = append([]string{"EVENTS=" + s.log}, r.env...)

	c := &cluster{states: []object{r.service()}}
	c.patched = func(state object) {
		log, _ := os.OpenFile(s.log, os.O_APPEND|os.O_WRONLY, 0)
		fmt.Fprintln(log, words(state["spec"].(object)["traffic"].([]any)))
		log.Close()
		if r.slow {
			time.Sleep(400 * time.Millisecond)
		}
	}
	s.server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		if q.Method == "PATCH" && r.forbidden {
			reply(w, 403, failure(403, "Forbidden", "no"))
			return
		}
		c.ServeHTTP(w, q)
	}))
	t.Cleanup(s.server.Close)
	return s
}

func (r release) run(t *testing.T, k kubectl) (result, []string) {
	s := r.stage(t)
	got := runAgainst(t, k, s.server.URL, s.script, nil, s.env)
	return got, s.events()
}

func (s stage) events() []string {
	log, _ := os.ReadFile(s.log)
	return strings.FieldsFunc(string(log), func(r rune) bool { return r == '\n' })
}

// service is the Service that the canary finds.
func (r release) service() object {
	latest, ready, condition, observed := "s-v3", r.ready, "True", 1
	if r.latest != "" {
		latest = r.latest
	}
	if ready == "" {
		ready = latest
	}
	if r.unready != "" {
		condition = r.unready
	}
	if r.observed != 0 {
		observed = r.observed
	}
	state := service(1, observed, condition, "", "")
	state["spec"] = object{"traffic": entries(r.traffic)}
	state["status"].(object)["latestCreatedRevisionName"] = latest
	state["status"].(object)["latestReadyRevisionName"] = ready
	return state
}

// entries are the traffic as JSON has it, and words the same the other way round.
func entries(traffic string) []any {
	var all []any
	for _, word := range strings.Fields(traffic) {
		field := strings.Split(word, ",")
		entry := object{"latestRevision": field[0] == ""}
		for i, key := range []string{"revisionName", "tag"} {
			if field[i] != "" {
				entry[key] = field[i]
			}
		}
		if field[2] != "" {
			entry["percent"] = json.Number(field[2])
		}
		all = append(all, entry)
	}
	return all
}

func words(traffic []any) string {
	var all []string
	for _, e := range traffic {
		var word []string
		for _, key := range []string{"revisionName", "tag", "percent"} {
			value := e.(object)[key]
			if value == nil {
				value = ""
			}
			word = append(word, fmt.Sprint(value))
		}
		all = append(all, strings.Join(word, ","))
	}
	return strings.Join(all, " ")
}

// patch sets spec.traffic by a JSON patch that tests what it is, and fills in
// what Knative does.
func (c *cluster) patch(w http.ResponseWriter, r *http.Request) {
	var operations []struct {
		Op, Path string
		Value    any
	}
	if err := json.NewDecoder(r.Body).Decode(&operations); err != nil {
		reply(w, 400, failure(400, "BadRequest", err.Error()))
		return
	}
	state := c.states[0]
	spec, metadata := state["spec"].(object), state["metadata"].(object)
	for _, o := range operations {
		switch {
		case o.Path != "/spec/traffic":
			reply(w, 422, failure(422, "Invalid", "the stand-in patches /spec/traffic, and not "+o.Path))
			return
		case o.Op == "test" && asJSON(o.Value) != asJSON(spec["traffic"]):
			reply(w, 422, failure(422, "Invalid", "the server rejected our request due to an error in our request"))
			return
		case o.Op == "replace":
			for _, entry := range o.Value.([]any) {
				e := entry.(object)
				e["latestRevision"] = e["revisionName"] == nil
			}
			spec["traffic"] = o.Value
			metadata["generation"] = metadata["generation"].(int) + 1
			c.patched(state)
		}
	}
	reply(w, 200, state)
}

func asJSON(value any) string {
	out, _ := json.Marshal(value)
	return string(out)
}
