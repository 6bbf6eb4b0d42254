//go:build e2e

package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
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
//	go test -tags e2e -run E2E -v -timeout 20m .
//	IMAGE=registry.example.com/rest-api-go:v1 go test …   # another image than the files'
func TestE2E(t *testing.T) {
	w := newWalk(t)

	w.step("v1 has all the traffic", func(t *testing.T) {
		w.bash(t, 0, "kubectl apply -f revision-v1.yaml")
		w.awaitFirstAnswer(t, "./run-test.sh")
		w.shares(t, w.bash(t, 0, "./run-test.sh 50"), "v1 100%")
	})
	load := w.startLoad(t)
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
	w.step("the canary line promotes v3", func(t *testing.T) {
		w.bash(t, 0, canary)
		w.shares(t, w.bash(t, 0, "./run-test.sh 300"), "v1 40%", "v2 30%", "v3 30%")
	})
	w.step("a bad v4 is caught at its tag, before any traffic", func(t *testing.T) {
		w.write(t, "revision-v4.yaml", badRevision(w.manifest(t, "revision-v3-2.yaml")))
		w.bash(t, 0, "kubectl apply -f revision-v4.yaml")
		out := w.bash(t, 1, "./latest-run-test.sh 50")
		if !strings.Contains(out, "500 from stock-service-example-v4") {
			t.Errorf("no word of v4's failures:\n%s", out)
		}
		w.shares(t, w.bash(t, 0, "./run-test.sh 200"), "v1 40%", "v2 30%", "v3 30%", "v4 0%")
	})
	w.step("the canary line goes back from it", func(t *testing.T) {
		w.bash(t, 0, canary)
		w.shares(t, w.bash(t, 0, "./run-test.sh 200"), "v1 50%", "v2 50%")
	})
	w.step("rollback to v1", func(t *testing.T) {
		w.bash(t, 0, "kubectl apply -f revision-v1.yaml")
		w.shares(t, w.bash(t, 0, "./run-test.sh 50"), "v1 100%")
	})
	w.step("a skipped file is told", func(t *testing.T) {
		for _, name := range []string{"revision-v1.yaml", "revision-v2.yaml", "revision-v3.yaml"} {
			w.write(t, "skip-"+name, strings.ReplaceAll(w.manifest(t, name), "stock-service-example", "skipped"))
		}
		w.bash(t, 0, "kubectl apply -f skip-revision-v1.yaml")
		w.awaitFirstAnswer(t, "SVC_NAME=skipped ./run-test.sh")
		w.bash(t, 0, "kubectl apply -f skip-revision-v3.yaml")
		out := w.bash(t, 2, "SVC_NAME=skipped ./run-test.sh")
		want := `run-test.sh: Service skipped in namespace ` + w.namespace + ` is not Ready: RevisionMissing: ` +
			`Revision "skipped-v2" referenced in traffic not found. Apply the files in order: a skipped one's revision is missing.` + "\n"
		if out != want {
			t.Errorf("got  %swant %s", out, want)
		}
		w.bash(t, 0, "kubectl apply -f skip-revision-v2.yaml")
		w.bash(t, 0, "SVC_NAME=skipped ./run-test.sh 100")
	})

	load.stop(t)
}

// canary is the README's line, for bash.
const canary = "./latest-run-test.sh 50 && kubectl apply -f revision-v3-2.yaml && ./run-test.sh 300 || kubectl apply -f revision-v2.yaml"

// badRevision makes v4 of v3's manifest: two answers of five fail.
func badRevision(v3 string) string {
	v4 := strings.Replace(v3, "name: stock-service-example-v3", "name: stock-service-example-v4", 1)
	return strings.Replace(v4, "              value: v3\n", "              value: v4\n            - name: ERROR_RATE\n              value: \"0.4\"\n", 1)
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

// awaitFirstAnswer gives the cluster's network a moment for a Service that is
// new. Where the gateway is not probed before a route is Ready (net-istio
// does, the rig does not), kube-proxy may still be behind.
func (w *walk) awaitFirstAnswer(t *testing.T, command string) {
	t.Helper()
	w.bash(t, 0, "for i in {1..10}; do "+command+" && exit; sleep 1; done; exit 1")
}

// shares checks the script's table: these revisions with these expected
// shares, and no others. That the observed ones fit is the script's own check.
func (w *walk) shares(t *testing.T, out string, want ...string) {
	t.Helper()
	var got []string
	for line := range strings.Lines(out) {
		if rest, ok := strings.CutPrefix(line, "stock-service-example-"); ok {
			fields := strings.Fields(rest)
			for _, f := range fields {
				if strings.HasSuffix(f, "%") {
					got = append(got, fields[0]+" "+f)
					break
				}
			}
		}
	}
	if strings.Join(got, ", ") != strings.Join(want, ", ") {
		t.Errorf("shares %v, want %v", got, want)
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
}

// startLoad starts four clients, each of about 20 requests per second.
func (w *walk) startLoad(t *testing.T) *load {
	first, _, _ := strings.Cut(w.bash(t, 0, "./run-test.sh 1"), "\n")
	var n int
	var host, gateway string
	if _, err := fmt.Sscanf(first, "%d requests to %s through %s", &n, &host, &gateway); err != nil {
		t.Fatalf("%q: %v", first, err)
	}
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
	if len(l.seen) != 3 {
		t.Errorf("answers of %d revisions, want v1, v2 and v3's", len(l.seen))
	}
}
