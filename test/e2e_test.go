//go:build e2e

package test

import (
	"cmp"
	"crypto/rand"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// TestE2E walks the article on the cluster that kubectl points at, with the
// project's own files and scripts, in a namespace of its own. All the while
// clients ask for / and /stock/AAPL, and none of their requests may fail.
//
//	go test -count=1 -tags e2e -run E2E -v -timeout 30m ./test
//	IMAGE=registry.example.com/rest-api-go:v1 go test …   # another image than the files'
func TestE2E(t *testing.T) {
	w := newWalk(t)

	var load *load
	for i, file := range appliedFiles {
		w.step(fmt.Sprintf("%s is file %d of the article", file.name, i+1), func(t *testing.T) {
			w.bash(t, 0, "kubectl apply -f "+file.name)
			w.shares(t, w.bash(t, 0, "./run-test.sh 200"), shares(file.split)...)
			if strings.Contains(w.manifest(t, file.name), "tag: latest") {
				w.shares(t, w.bash(t, 0, "./latest-run-test.sh 50"), file.latest+" 100%")
			}
		})
		if i == 0 {
			load = w.startLoad(t)
			w.step("without the tag latest the canary moves nothing", func(t *testing.T) {
				w.told(t, w.bash(t, 2, "examples/canary.sh"), "has no tag latest")
				w.shares(t, w.bash(t, 0, "./run-test.sh 50"), "v1 100%")
			})
		}
	}
	w.step("a watch shows an edit within seconds", func(t *testing.T) {
		w.bash(t, 0, "kubectl apply -f revision-v3.yaml")
		w.bash(t, 0, "./run-test.sh 50")
		watch := w.startWatch(t)
		watch.await(t, "v2", "50%", 30, 70)
		w.bash(t, 0, "kubectl apply -f revision-v3-2.yaml")
		watch.await(t, "v3", "30%", 15, 45)
		w.bash(t, 0, "kubectl apply -f revision-v1.yaml")
		watch.await(t, "v1", "100%", 100, 100)
		watch.end(t)
	})

	w.bash(t, 0, "kubectl apply -f revision-v3.yaml")
	w.step("the canary takes a good v3 to the end", func(t *testing.T) {
		w.bash(t, 0, "examples/canary.sh")
		w.shares(t, w.bash(t, 0, "./run-test.sh 50"), "v1 0%", "v2 0%", "v3 100%")
		w.bash(t, 0, "kubectl apply -f revision-v3.yaml")
	})
	for _, bad := range []struct{ revision, apply, env, says string }{
		{"v4", w.badRevision(t), "", "requests failed: status 500 from stock-service-example-v4"},
		{"v5", "kubectl apply -f slow-v5.yaml", "WITHIN=0.5 PREVIEW=5 ", "requests failed: took longer than 0.5 s from stock-service-example-v5"},
	} {
		w.step("the canary finds a bad "+bad.revision+" in its preview, and moves nothing", func(t *testing.T) {
			w.bash(t, 0, bad.apply)
			w.told(t, w.bash(t, 1, bad.env+"examples/canary.sh"), bad.says)
			w.shares(t, w.bash(t, 0, "./run-test.sh 200"), "v1 50%", "v2 50%", bad.revision+" 0%")
		})
		w.step("without its preview it goes back at the first step from "+bad.revision, func(t *testing.T) {
			load.expect("stock-service-example-" + bad.revision)
			before := load.requests.Load()
			out := w.bash(t, 1, bad.env+"PREVIEW=0 examples/canary.sh")
			w.told(t, out, bad.says)
			w.told(t, out, "put back the traffic of before")
			w.shares(t, w.bash(t, 0, "./run-test.sh 200"), "v1 50%", "v2 50%", bad.revision+" 0%")
			requests, failed := load.requests.Load()-before, load.expect("")
			t.Logf("of the steady load's %d requests meanwhile, %d failed", requests, failed)
		})
	}

	w.bash(t, 0, "kubectl apply -f revision-v3.yaml")
	w.step("in trouble, the scripts say which", w.troubles)
	w.step("v3 scales to zero, and its tag's first request wakes it", func(t *testing.T) {
		w.awaitNoPods(t, "stock-service-example-v3")
		start := time.Now()
		if got := w.bash(t, 0, "./latest-run-test.sh"); got != "Welcome to the v3 app! \n" {
			t.Errorf("latest-run-test.sh printed %q", got)
		}
		t.Logf("answered after %v, kubectl and all", time.Since(start).Round(10*time.Millisecond))
	})
	w.step("rollback to v1", func(t *testing.T) {
		w.bash(t, 0, "kubectl apply -f revision-v1.yaml")
		w.shares(t, w.bash(t, 0, "./run-test.sh 50"), "v1 100%")
	})
	load.stop(t)

	w.step("a share is of requests, not of pods", func(t *testing.T) {
		w.apply(t, "pods", "revision-v1.yaml")
		w.bash(t, 0, "SVC_NAME=pods ./run-test.sh")
		// the activator balances requests, and stays in the path: a gateway that
		// keeps its connections, as the rig's, would ask one pod on each
		w.apply(t, "pods", "revision-v2.yaml", "      name: pods-v2\n", `      name: pods-v2
      annotations:
        autoscaling.knative.dev/min-scale: "3"
        autoscaling.knative.dev/target-burst-capacity: "-1"
`)
		w.bash(t, 0, "kubectl wait --timeout 60s --for 'jsonpath={.status.actualReplicas}=3' --namespace "+w.namespace+" revision/pods-v2")
		w.pods(t, w.bash(t, 0, "SVC_NAME=pods ./run-test.sh 300"), "v1 50% 1", "v2 50% 3")
		w.bash(t, 0, `kubectl patch ksvc pods --namespace `+w.namespace+` --type merge --patch \
			'{"spec":{"traffic":[{"revisionName":"pods-v1","percent":90},{"revisionName":"pods-v2","percent":10}]}}'`)
		w.pods(t, w.bash(t, 0, "SVC_NAME=pods ./run-test.sh 600"), "v1 90% 1", "v2 10% 3")
	})
}

// shares are what the table shows of a split, as v1=50,v2=50.
func shares(split string) []string {
	return strings.Split(strings.NewReplacer("=", " ", ",", "%,").Replace(split)+"%", ",")
}

// badRevision is the README's command for a v4 that fails.
func (w *walk) badRevision(t *testing.T) string {
	return readme(t, "(?m)^    (sed .*ERROR_RATE.* kubectl apply -f -)$")
}

// readme returns the one place of the README that the pattern's group finds.
func readme(t *testing.T, pattern string) string {
	text, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile(pattern).FindAllStringSubmatch(string(text), -1)
	if len(found) != 1 {
		t.Fatalf("the README has %d places like %s, want 1", len(found), pattern)
	}
	return found[0][1]
}

// walk is a namespace, and a folder with the manifests for it and the scripts.
type walk struct {
	t         *testing.T
	namespace string
	dir       string
}

func newWalk(t *testing.T) *walk {
	w := &walk{t: t, namespace: "stock-e2e-" + strings.ToLower(rand.Text()[:6]), dir: t.TempDir()}
	for _, name := range []string{"revision-v1.yaml", "revision-v2.yaml", "revision-v3.yaml", "revision-v3-2.yaml"} {
		w.write(t, name, w.manifest(t, name))
	}
	w.write(t, "slow-v5.yaml", strings.NewReplacer("stock-service-example-v3", "stock-service-example-v5", env("RESOURCE", "v3"), env("RESOURCE", "v5", "LATENCY", "1s")).Replace(w.manifest(t, "revision-v3.yaml")))
	if err := os.Mkdir(filepath.Join(w.dir, "examples"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"run-test.sh", "latest-run-test.sh", "examples/canary.sh"} {
		script, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		w.write(t, name, string(script))
	}
	t.Cleanup(func() { w.bash(t, 0, "kubectl delete namespace --wait=false --ignore-not-found "+w.namespace) })
	w.bash(t, 0, "kubectl create namespace "+w.namespace)
	return w
}

// manifest is the project's file, for the walk's namespace and IMAGE.
func (w *walk) manifest(t *testing.T, name string) string {
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	manifest := strings.ReplaceAll(string(text), "namespace: default", "namespace: "+w.namespace)
	return strings.ReplaceAll(manifest, "dev.local/rest-api-go:v1", image())
}

func image() string { return cmp.Or(os.Getenv("IMAGE"), "dev.local/rest-api-go:v1") }

// apply applies a file of the project as that of another Service, with changes.
func (w *walk) apply(t *testing.T, service, name string, changes ...string) {
	t.Helper()
	manifest := strings.ReplaceAll(w.manifest(t, name), "stock-service-example", service)
	changed := strings.NewReplacer(changes...).Replace(manifest)
	for i := 0; i < len(changes); i += 2 {
		if !strings.Contains(manifest, changes[i]) {
			t.Fatalf("%s has no %q", name, changes[i])
		}
	}
	w.write(t, service+".yaml", changed)
	w.bash(t, 0, "kubectl apply -f "+service+".yaml")
}

// env are variables as the files have them.
func env(pairs ...string) string {
	var all []string
	for i := 0; i < len(pairs); i += 2 {
		all = append(all, "- name: "+pairs[i]+"\n              value: "+pairs[i+1])
	}
	return strings.Join(all, "\n            ")
}

func (w *walk) write(t *testing.T, name, text string) {
	if err := os.WriteFile(filepath.Join(w.dir, name), []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
}

// step ends the walk if it fails: the next one builds on it.
func (w *walk) step(name string, do func(t *testing.T)) {
	w.t.Helper()
	if !w.t.Run(name, do) {
		w.t.FailNow()
	}
}

// bash runs a command as a reader of the README would, and returns what it
// printed. It must end with code, and print no warning.
func (w *walk) bash(t *testing.T, code int, command string) string {
	t.Helper()
	cmd := exec.Command("bash", "-c", command)
	cmd.Dir = w.dir
	cmd.Env = append(os.Environ(), "NAMESPACE="+w.namespace)
	out, _ := cmd.CombinedOutput()
	t.Logf("$ %s\n%s", command, out)
	if got := cmd.ProcessState.ExitCode(); got != code {
		t.Fatalf("exit status %d, want %d", got, code)
	}
	if strings.Contains(string(out), "Warning") {
		t.Errorf("it warns")
	}
	return string(out)
}

// told checks that a command said something.
func (w *walk) told(t *testing.T, out string, wants ...string) {
	t.Helper()
	for _, want := range wants {
		if !strings.Contains(out, want) {
			t.Errorf("it does not say %q", want)
		}
	}
}

// shares checks the script's table: these revisions with these expected
// shares, and no others. That the observed ones fit is the script's own check.
func (w *walk) shares(t *testing.T, out string, want ...string) {
	t.Helper()
	w.rows(t, out, `(?m)^[a-z-]+-(\w+) .*? (\d+%)  +[\d.]+%  .*$`, want)
}

// pods checks the number of pods, too.
func (w *walk) pods(t *testing.T, out string, want ...string) {
	t.Helper()
	w.rows(t, out, `(?m)^pods-(\S+) .*? (\d+%)  +[\d.]+%  +\d+  +(\d+)`, want)
}

func (w *walk) rows(t *testing.T, out, pattern string, want []string) {
	t.Helper()
	var got []string
	for _, row := range regexp.MustCompile(pattern).FindAllStringSubmatch(out, -1) {
		got = append(got, strings.Join(row[1:], " "))
	}
	if strings.Join(got, ", ") != strings.Join(want, ", ") {
		t.Errorf("rows %q, want %q", got, want)
	}
}

// awaitNoPods waits for scale to zero: the stable window of 60 s and the grace
// period of 30 s are Knative's defaults.
func (w *walk) awaitNoPods(t *testing.T, revision string) {
	t.Helper()
	start := time.Now()
	for time.Since(start) < 4*time.Minute {
		cmd := exec.Command("kubectl", "get", "pods", "--namespace", w.namespace, "--selector", "serving.knative.dev/revision="+revision, "--output", "name")
		out, err := cmd.Output()
		if err == nil && len(out) == 0 {
			t.Logf("no pod of %s after %v", revision, time.Since(start).Round(time.Second))
			return
		}
		time.Sleep(2 * time.Second)
	}
	t.Fatalf("%s still has pods", revision)
}
