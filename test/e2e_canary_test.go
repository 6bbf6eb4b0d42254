//go:build e2e

package test

import (
	"bufio"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// TestE2ECanary releases good and bad revisions on the cluster, each Service by
// itself, while things happen to the Service, the cluster and the canary.
func TestE2ECanary(t *testing.T) {
	w := newWalk(t)
	observed := w.settings(t, "config-observability", "request-metrics-protocol", "prometheus")
	t.Run("", func(t *testing.T) { // ends when all have, before the clean-up
		for name, happens := range map[string]func(*testing.T, *walk){
			"a good release loses no request":                         goodRelease,
			"a revision that crashes at 25% is left out":              crashes,
			"a bad revision is left at its first failure":             failsEarly,
			"a failing old revision does not hold up its fix":         fixes,
			"a few failures are allowed":                              failsNowAndThen,
			"a cold start is not slow":                                sleeps,
			"the answer to an edit is lost":                           losesAnAnswer,
			"a controller applies its file":                           isUndone,
			"the canary is killed, and the next one says what it was": isKilled,
			"users meet failures that the canary does not": func(t *testing.T, w *walk) {
				if !observed {
					t.Skip("queue-proxy counts only if the cluster says so")
				}
				usersMeetFailures(t, w)
			},
		} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				happens(t, w)
			})
		}
	})
}

// deployed applies a v1 that has all the traffic, and then a v2 that has none,
// each with these variables.
func deployed(t *testing.T, w *walk, service, v1, v2 string) (canary string) {
	for i, variables := range []string{v1, v2} {
		version := fmt.Sprintf("v%d", i+1)
		w.apply(t, service, "revision-v1.yaml",
			"      name: "+service+"-v1\n", "      name: "+service+"-"+version+"\n",
			env("RESOURCE", "v1"), env(append([]string{"RESOURCE", version}, strings.Fields(variables)...)...))
		w.bash(t, 0, "SVC_NAME="+service+" ./run-test.sh --allow 50 20") // v1 may fail on purpose
	}
	return "SVC_NAME=" + service + " scripts/canary.sh "
}

// split is what the Service asks for, as the canary writes it.
func (w *walk) split(t *testing.T, service string) string {
	t.Helper()
	return strings.TrimSpace(w.bash(t, 0, "kubectl get ksvc "+service+" --namespace "+w.namespace+
		` --output go-template='{{range .spec.traffic}}{{or .revisionName "@latest"}},{{or .tag ""}},{{or .percent 0}} {{end}}'`))
}

func (w *walk) has(t *testing.T, service, split string) {
	t.Helper()
	if got := w.split(t, service); got != split {
		t.Errorf("%s has %q, want %q", service, got, split)
	}
	annotations := w.bash(t, 0, "kubectl get ksvc "+service+" --namespace "+w.namespace+" --output jsonpath={.metadata.annotations}")
	if strings.Contains(annotations, kept) {
		t.Errorf("%s is left", kept)
	}
}

// started starts a canary, and returns when it has said something.
func (w *walk) started(t *testing.T, command, says string) (cmd *exec.Cmd, said func() string) {
	t.Helper()
	cmd = exec.Command("bash", "-c", "exec env "+command)
	cmd.Dir, cmd.Env = w.dir, append(cmd.Environ(), "NAMESPACE="+w.namespace)
	out, err := os.Create(filepath.Join(t.TempDir(), "said"))
	if cmd.Stdout, cmd.Stderr = out, out; err != nil || cmd.Start() != nil {
		t.Fatal(command, " cannot be started: ", err)
	}
	said = func() string { return read(t, out.Name()) }
	for end := time.Now().Add(2 * time.Minute); !strings.Contains(said(), says); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("it does not say %q, but\n%s", says, said())
		}
	}
	return cmd, said
}

// failed returns what a canary that was started has said, once it has ended with 1.
func failed(t *testing.T, cmd *exec.Cmd, said func() string) string {
	cmd.Wait()
	if code := cmd.ProcessState.ExitCode(); code != 1 {
		t.Errorf("exit status %d, want 1, and\n%s", code, said())
	}
	return said()
}

func goodRelease(t *testing.T, w *walk) {
	for _, file := range []string{"revision-v1.yaml", "revision-v2.yaml", "revision-v3.yaml"} {
		w.bash(t, 0, "kubectl apply -f "+file)
		w.bash(t, 0, "./run-test.sh 20 || ./run-test.sh --enough 20")
	}
	load := w.startLoad(t)
	w.told(t, w.bash(t, 0, "scripts/canary.sh --path / --path /stock/AAPL"), "ok: stock-service-example-v3 has 100% of the traffic")
	w.shares(t, w.bash(t, 0, "./run-test.sh 50"), "v1 0%", "v2 0%", "v3 100%")
	load.stop(t)
	w.has(t, "stock-service-example", "stock-service-example-v1,v1,0 stock-service-example-v2,v2,0 @latest,latest,0 stock-service-example-v3,,100")
	w.told(t, w.bash(t, 2, "scripts/canary.sh"), "stock-service-example-v3 has 100% of the traffic already")
}

func crashes(t *testing.T, w *walk) {
	w.bash(t, 0, "kubectl create configmap rate --from-literal rate=0 --namespace "+w.namespace)
	w.apply(t, "crash", "revision-v1.yaml")
	w.bash(t, 0, "SVC_NAME=crash ./run-test.sh")
	w.apply(t, "crash", "revision-v1.yaml", "      name: crash-v1\n", "      name: crash-v2\n", env("RESOURCE", "v1"),
		"- name: ERROR_RATE\n              valueFrom: {configMapKeyRef: {name: rate, key: rate}}")
	cmd, said := w.started(t, "SVC_NAME=crash scripts/canary.sh --requests 5000 --rate 50 --timeout 10 --steps '25 100'", "gets 25%")
	w.bash(t, 0, "until SVC_NAME=crash ./run-test.sh --enough 50; do sleep 1; done") // it has got them
	w.bash(t, 0, `kubectl patch configmap rate --type merge --patch '{"data": {"rate": "nonsense"}}' --namespace `+w.namespace)
	w.bash(t, 0, "kubectl delete pod --selector serving.knative.dev/revision=crash-v2 --namespace "+w.namespace)
	out := failed(t, cmd, said)
	w.told(t, out, "the gateway has the traffic of before, set by canary.sh")
	// Of these crash-v2 answers none. Where its tag is left, Knative may find only now that it has failed, which is told.
	w.bash(t, 0, "SVC_NAME=crash ./run-test.sh 200 | tee /dev/stderr | grep -q '^crash-v1 .* 100.0%  *200  *1  #'")
	if strings.Contains(out, "but for what has failed: crash-v2") {
		w.has(t, "crash", "crash-v1,v1,100")
	} else { // it was back before Knative knew that crash-v2 had failed
		w.has(t, "crash", "crash-v1,v1,100 @latest,latest,0")
	}
}

func failsEarly(t *testing.T, w *walk) {
	canary := deployed(t, w, "early", "", `ERROR_RATE "0.2"`)
	for _, requests := range []string{"300", "3000"} {
		start := time.Now()
		out := w.bash(t, 1, canary+"--preview 0 --steps 20 --rate 20 --requests "+requests)
		w.told(t, out, "requests failed: status 500 from early-v2", "the gateway has the traffic of before, set by canary.sh")
		var stopped, of int
		_, text, _ := strings.Cut(out, "run-test.sh: stopped after ")
		fmt.Sscanf(text, "%d of %d", &stopped, &of)
		t.Logf("of %s requests %d were sent, back after %v", requests, stopped, time.Since(start).Round(time.Second))
		if stopped == 0 || stopped > 150 {
			t.Errorf("it stopped after %d requests", stopped)
		}
	}
	w.has(t, "early", "early-v1,v1,100 @latest,latest,0")
}

func fixes(t *testing.T, w *walk) {
	canary := deployed(t, w, "fix", `ERROR_RATE "0.05"`, "")
	w.told(t, w.bash(t, 0, canary+"--steps '50 100'"), "which does not count", "ok: fix-v2 has 100% of the traffic")
	w.has(t, "fix", "fix-v1,v1,0 @latest,latest,0 fix-v2,,100")
}

func failsNowAndThen(t *testing.T, w *walk) {
	canary := deployed(t, w, "now", "", `ERROR_RATE "0.02"`)
	w.bash(t, 0, canary+"--preview 0 --steps 100 --requests 500 --allow 5")
	w.has(t, "now", "now-v1,v1,0 @latest,latest,0 now-v2,,100")
}

// On a busy machine some answers are late that woke nothing.
func sleeps(t *testing.T, w *walk) {
	canary := deployed(t, w, "sleepy", "", "LATENCY 100ms")
	w.bash(t, 0, "kubectl wait --for delete --timeout 4m --namespace "+w.namespace+" pod --selector serving.knative.dev/revision=sleepy-v2")
	w.told(t, w.bash(t, 0, canary+"--steps '50 100' --within 0.6 --allow 10"), "to answer first, which --within 0.6 does not judge")
}

// losesAnAnswer goes by a proxy that cuts the connection instead of answering
// the first edit of the traffic.
func losesAnAnswer(t *testing.T, w *walk) {
	canary := deployed(t, w, "lost", "", "")
	proxy := exec.Command("kubectl", "proxy", "--port", "0")
	out, err := proxy.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := proxy.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { proxy.Process.Kill(); proxy.Wait() })
	line, _ := bufio.NewReader(out).ReadString('\n')
	address := strings.TrimSpace(strings.TrimPrefix(line, "Starting to serve on "))
	through := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: address})
	var edits atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if r.Method == "PATCH" && edits.Add(1) == 1 {
			through.ServeHTTP(httptest.NewRecorder(), r)
			panic(http.ErrAbortHandler)
		}
		through.ServeHTTP(rw, r)
	}))
	t.Cleanup(server.Close)
	w.write(t, "lost.kubeconfig", `{"apiVersion": "v1", "kind": "Config", "current-context": "lossy", "contexts": [{"name": "lossy", "context": {"cluster": "c"}}],
		"clusters": [{"name": "c", "cluster": {"server": "`+server.URL+`"}}]}`)
	w.told(t, w.bash(t, 0, "KUBECONFIG=lost.kubeconfig "+canary+"--steps '50 100'"), "of context lossy", "ok: lost-v2 has 100% of the traffic")
	w.has(t, "lost", "lost-v1,v1,0 @latest,latest,0 lost-v2,,100")
}

func isUndone(t *testing.T, w *walk) {
	deployed(t, w, "undone", "", "")
	cmd, said := w.started(t, "SVC_NAME=undone scripts/canary.sh --requests 500 --rate 50 --steps '50 100'", "gets 50%")
	w.bash(t, 0, "until SVC_NAME=undone ./run-test.sh 50; do sleep 1; done")
	w.bash(t, 0, "kubectl apply --server-side --force-conflicts --field-manager argocd-controller -f undone.yaml")
	w.told(t, failed(t, cmd, said), "set by argocd-controller")
	w.has(t, "undone", "undone-v1,v1,100 @latest,latest,0")
}

func isKilled(t *testing.T, w *walk) {
	canary := deployed(t, w, "killed", "", "")
	cmd, _ := w.started(t, "SVC_NAME=killed scripts/canary.sh --requests 500 --rate 50 --steps '50 100'", "500 requests to")
	cmd.Process.Signal(syscall.SIGKILL)
	cmd.Wait()
	w.told(t, w.bash(t, 2, canary), "a release was cut off", "50% killed-v2", "To go back: canary.sh --put-back.")
	w.told(t, w.bash(t, 0, canary+"--put-back"), "the gateway has the traffic of before, set by canary.sh")
	w.has(t, "killed", "killed-v1,v1,100 @latest,latest,0")
	w.told(t, w.bash(t, 0, canary+"--put-back"), "no release was cut off")
}

func usersMeetFailures(t *testing.T, w *walk) {
	canary := deployed(t, w, "users", "", `QUOTE_URL "http://127.0.0.1:9/{ticker}"`) + "--preview 5 --steps 50 --requests 50 --check examples/check-queue-proxy.sh"
	w.write(t, "examples/check-queue-proxy.sh", read(t, "examples/check-queue-proxy.sh"))
	w.told(t, w.bash(t, 0, canary), "0 of ", "ok: users-v2 has 50% of the traffic")
	w.bash(t, 0, "kubectl apply -f users.yaml")
	users := exec.Command("bash", "-c", "while :; do SVC_NAME=users ./run-test.sh --path /stock/AAPL 5; done")
	users.Dir, users.Env, users.SysProcAttr = w.dir, append(users.Environ(), "NAMESPACE="+w.namespace), &syscall.SysProcAttr{Setpgid: true}
	if err := users.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { syscall.Kill(-users.Process.Pid, syscall.SIGKILL); users.Wait() })
	w.told(t, w.bash(t, 1, canary), "--check exits with 1", "the gateway has the traffic of before, set by canary.sh")
	w.has(t, "users", "users-v1,v1,100 @latest,latest,0")
}
