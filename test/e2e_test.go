//go:build e2e

package test

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
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

	w.step("v1 has all the traffic", func(t *testing.T) {
		w.bash(t, 0, "kubectl apply -f revision-v1.yaml")
		w.shares(t, w.bash(t, 0, "./run-test.sh 50"), "v1 100%")
	})
	load := w.startLoad(t)
	w.step("without the tag latest the canary moves nothing", func(t *testing.T) {
		w.bash(t, 2, "./canary.sh")
		w.shares(t, w.bash(t, 0, "./run-test.sh 50"), "v1 100%")
	})
	w.step("v2 gets half at once", func(t *testing.T) {
		w.bash(t, 0, "kubectl apply -f revision-v2.yaml")
		w.shares(t, w.bash(t, 0, "./run-test.sh 200"), "v1 50%", "v2 50%")
	})
	w.step("v3 is up, unseen, and seen at its tag", func(t *testing.T) {
		w.bash(t, 0, "kubectl apply -f revision-v3.yaml")
		w.shares(t, w.bash(t, 0, "./run-test.sh 200"), "v1 50%", "v2 50%", "v3 0%")
		w.shares(t, w.bash(t, 0, "./latest-run-test.sh 50"), "v3 100%")
	})
	w.step("v3 scales to zero, and its tag's first request wakes it", func(t *testing.T) {
		w.awaitNoPods(t, "stock-service-example-v3")
		start := time.Now()
		if got := w.bash(t, 0, "./latest-run-test.sh"); got != "Welcome to the v3 app! \n" {
			t.Errorf("latest-run-test.sh printed %q", got)
		}
		t.Logf("answered after %v, kubectl and all", time.Since(start).Round(10*time.Millisecond))
	})
	w.step("v3 gets its share", func(t *testing.T) {
		w.bash(t, 0, "kubectl apply -f revision-v3-2.yaml")
		w.shares(t, w.bash(t, 0, "./run-test.sh 300"), "v1 40%", "v2 30%", "v3 30%")
	})
	w.step("rollback to v2's file", func(t *testing.T) {
		w.bash(t, 0, "kubectl apply -f revision-v2.yaml")
		w.shares(t, w.bash(t, 0, "./run-test.sh 200"), "v1 50%", "v2 50%")
		w.bash(t, 0, "kubectl apply -f revision-v3.yaml")
	})
	w.step("the canary takes a good v3 to the end", func(t *testing.T) {
		w.bash(t, 0, "./canary.sh")
		w.shares(t, w.bash(t, 0, "./run-test.sh 50"), "v2 0%", "v3 100%")
		w.bash(t, 0, "kubectl apply -f revision-v3-2.yaml")
	})

	bad := "stock-service-example-v4"
	w.step("the canary finds a bad v4 in its preview, and moves nothing", func(t *testing.T) {
		w.bash(t, 0, w.badRevision(t))
		w.shares(t, w.bash(t, 0, "./run-test.sh 200"), "v1 50%", "v2 50%", "v4 0%")
		w.told(t, w.bash(t, 1, "./canary.sh"), "requests failed: status 500 from "+bad)
		w.shares(t, w.bash(t, 0, "./run-test.sh 200"), "v1 50%", "v2 50%", "v4 0%")
	})
	w.step("without its preview it goes back at the first step", func(t *testing.T) {
		unseen := regexp.MustCompile(`(?m)^\./latest-run-test\.sh.*\n`).ReplaceAllString(w.canary(t), "")
		w.write(t, "unseen.sh", unseen)
		load.expect(bad)
		before := load.requests.Load()
		out := w.bash(t, 1, "./unseen.sh")
		w.told(t, out, "requests failed: status 500 from "+bad)
		w.told(t, out, "put back")
		w.shares(t, w.bash(t, 0, "./run-test.sh 200"), "v1 50%", "v2 50%", "v4 0%")
		requests, failed := load.requests.Load()-before, load.expect("")
		t.Logf("of the steady load's %d requests meanwhile, %d failed", requests, failed)
	})
	w.step("rollback to v1", func(t *testing.T) {
		w.bash(t, 0, "kubectl apply -f revision-v1.yaml")
		w.shares(t, w.bash(t, 0, "./run-test.sh 50"), "v1 100%")
	})
	w.step("each file gives the traffic and the latest revision of a rehearsal", func(t *testing.T) {
		for _, file := range appliedFiles {
			w.bash(t, 0, "kubectl apply -f "+file.name)
			shares := strings.NewReplacer("=", " ", ",", "%,").Replace(file.split) + "%" // v1 50%,v2 50%
			w.shares(t, w.bash(t, 0, "./run-test.sh 100"), strings.Split(shares, ",")...)
			latest := w.bash(t, 0, "kubectl get ksvc stock-service-example --namespace "+w.namespace+" --output jsonpath={.status.latestReadyRevisionName}")
			if latest != "stock-service-example-"+file.latest {
				t.Errorf("after %s the latest revision is %s, want %s", file.name, latest, file.latest)
			}
		}
	})
	load.stop(t)

	w.step("a share is of requests, not of pods", func(t *testing.T) {
		pods := func(name string) string {
			return strings.ReplaceAll(w.manifest(t, name), "stock-service-example", "pods")
		}
		w.write(t, "pods-v1.yaml", pods("revision-v1.yaml"))
		// the activator balances requests, and stays in the path: a gateway that
		// keeps its connections, as the rig's, would ask one pod on each
		w.write(t, "pods-v2.yaml", strings.Replace(pods("revision-v2.yaml"), "      name: pods-v2\n", `      name: pods-v2
      annotations:
        autoscaling.knative.dev/min-scale: "3"
        autoscaling.knative.dev/target-burst-capacity: "-1"
`, 1))
		w.bash(t, 0, "kubectl apply -f pods-v1.yaml")
		w.bash(t, 0, "SVC_NAME=pods ./run-test.sh")
		w.bash(t, 0, "kubectl apply -f pods-v2.yaml")
		w.bash(t, 0, "kubectl wait --timeout 60s --for 'jsonpath={.status.actualReplicas}=3' --namespace "+w.namespace+" revision/pods-v2")
		w.pods(t, w.bash(t, 0, "SVC_NAME=pods ./run-test.sh 300"), "v1 50% 1", "v2 50% 3")
		w.bash(t, 0, `kubectl patch ksvc pods --namespace `+w.namespace+` --type merge --patch \
			'{"spec":{"traffic":[{"revisionName":"pods-v1","percent":90},{"revisionName":"pods-v2","percent":10}]}}'`)
		w.pods(t, w.bash(t, 0, "SVC_NAME=pods ./run-test.sh 600"), "v1 90% 1", "v2 10% 3")
	})
	w.step("a skipped file is told", func(t *testing.T) {
		for _, name := range []string{"revision-v1.yaml", "revision-v2.yaml", "revision-v3.yaml"} {
			w.write(t, "skip-"+name, strings.ReplaceAll(w.manifest(t, name), "stock-service-example", "skipped"))
		}
		w.bash(t, 0, "kubectl apply -f skip-revision-v1.yaml")
		w.bash(t, 0, "SVC_NAME=skipped ./run-test.sh")
		w.bash(t, 0, "kubectl apply -f skip-revision-v3.yaml")
		w.told(t, w.bash(t, 2, "WAIT=5 SVC_NAME=skipped ./run-test.sh"), "run-test.sh: Service skipped in namespace "+w.namespace+
			` is not Ready after 5 s: RevisionMissing: Revision "skipped-v2" referenced in traffic not found.`)
		w.bash(t, 0, "kubectl apply -f skip-revision-v2.yaml")
		w.bash(t, 0, "SVC_NAME=skipped ./run-test.sh 100")
	})
	w.step("an image that is not there is told", func(t *testing.T) {
		w.write(t, "noimage.yaml", strings.NewReplacer("stock-service-example", "noimage", "rest-api-go:v1", "rest-api-go:none").Replace(w.manifest(t, "revision-v1.yaml")))
		w.bash(t, 0, "kubectl apply -f noimage.yaml")
		w.told(t, w.bash(t, 2, "WAIT=15 SVC_NAME=noimage ./run-test.sh"), "Image")
	})
}

// canary is the README's script.
func (w *walk) canary(t *testing.T) string {
	return readme(t, "(?s)```bash\n(#!/usr/bin/env bash\n# canary.sh.*?)```")
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
	w.write(t, "canary.sh", w.canary(t))
	for _, name := range []string{"run-test.sh", "latest-run-test.sh"} {
		script, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		w.write(t, name, string(script))
	}
	t.Cleanup(func() { w.bash(t, 0, "kubectl delete namespace --ignore-not-found "+w.namespace) })
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
	if image := os.Getenv("IMAGE"); image != "" {
		manifest = strings.ReplaceAll(manifest, "dev.local/rest-api-go:v1", image)
	}
	return manifest
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
func (w *walk) told(t *testing.T, out, want string) {
	t.Helper()
	if !strings.Contains(out, want) {
		t.Errorf("it does not say %q", want)
	}
}

// shares checks the script's table: these revisions with these expected
// shares, and no others. That the observed ones fit is the script's own check.
func (w *walk) shares(t *testing.T, out string, want ...string) {
	t.Helper()
	w.rows(t, out, `(?m)^stock-service-example-(\S+) .*? (\d+%)  +[\d.]+%  .*$`, want)
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

// load is a steady flow of requests through the gateway.
type load struct {
	end      context.CancelFunc
	clients  sync.WaitGroup
	requests atomic.Int64
	mu       sync.Mutex
	failures []string
	seen     map[string]int
	bad      string // the revision whose failures are expected
	expected int
}

// expect counts the failures of a revision apart from now on, and returns how
// many there were of the one before.
func (l *load) expect(bad string) (failed int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	failed, l.bad, l.expected = l.expected, bad, 0
	return failed
}

// startLoad starts four clients, each of about 20 requests per second.
func (w *walk) startLoad(t *testing.T) *load {
	first, _, _ := strings.Cut(w.bash(t, 0, "./run-test.sh 2"), "\n")
	var n int
	var host, gateway string
	if _, err := fmt.Sscanf(first, "%d requests to http://%s through %s", &n, &host, &gateway); err != nil {
		t.Fatalf("%q: %v", first, err)
	}
	host = strings.TrimSuffix(host, "/")
	ctx, end := context.WithCancel(context.Background())
	l := &load{end: end, seen: map[string]int{}}
	t.Cleanup(l.end)
	for i := range 4 {
		path := []string{"/", "/stock/AAPL"}[i%2]
		l.clients.Go(func() {
			for {
				select {
				case <-ctx.Done():
					return
				case <-time.After(50 * time.Millisecond):
					l.request(host, gateway, path)
				}
			}
		})
	}
	return l
}

func (l *load) request(host, gateway, path string) {
	l.requests.Add(1)
	revision, err := ask(host, gateway, path)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.bad != "" && err != nil && strings.Contains(err.Error(), l.bad) {
		l.expected++
		return
	}
	if err != nil {
		l.failures = append(l.failures, fmt.Sprintf("%s GET %s: %v", time.Now().Format(time.TimeOnly), path, err))
		return
	}
	l.seen[revision]++
}

// noReuse opens a connection for each request: a client with a connection at
// hand would quietly ask again on another, were it to break.
var noReuse = &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}

// ask returns the revision that answered, and checks its answer.
func ask(host, gateway, path string) (string, error) {
	req, err := http.NewRequest("GET", "http://"+gateway+path, nil)
	if err != nil {
		return "", err
	}
	req.Host = host
	resp, err := noReuse.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return "", err
	}
	revision := resp.Header.Get("X-Revision")
	label := strings.TrimPrefix(revision, "stock-service-example-")
	want := map[string]string{
		"/":           "Welcome to the " + label + " app! \n",
		"/stock/AAPL": label + " price for ticker AAPL is 201.36\n",
	}[path]
	if resp.StatusCode != 200 || string(body) != want {
		return "", fmt.Errorf("%s from %q: %q", resp.Status, revision, body)
	}
	return revision, nil
}

func (l *load) stop(t *testing.T) {
	l.end()
	l.clients.Wait()
	t.Logf("steady load: %d of %d requests failed; answers by revision: %v", len(l.failures), l.requests.Load(), l.seen)
	for _, f := range l.failures {
		t.Error(f)
	}
	if len(l.seen) < 3 {
		t.Errorf("answers of %d revisions, want at least v1, v2 and v3's", len(l.seen))
	}
}
