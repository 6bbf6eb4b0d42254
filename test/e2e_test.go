//go:build e2e

package test

import (
	"cmp"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/knative-sample/rest-api-go/internal/rehearsal"
)

// TestE2E walks the article on the cluster that kubectl points at, with the
// project's own files and scripts, each walk in a namespace of its own. All the
// while clients ask for / and /stock/AAPL, and none of their requests may fail.
//
//	go test -count=1 -tags e2e -run E2E -v -timeout 40m ./test
//
// IMAGE=registry.example.com/rest-api-go:v1 takes another image than the files'.
// With ALONE=1 the cluster is yours alone: its settings are changed, too, while
// it walks, and are put back.
func TestE2E(t *testing.T) {
	w := newWalk(t)
	w.bash(t, 0, "kubectl apply -f revision-v1.yaml")
	load := w.startLoad(t)
	w.bash(t, 0, "kubectl apply -f revision-v2.yaml")
	w.shares(t, w.bash(t, 0, "./run-test.sh 100"), "v1 50%", "v2 50%")
	w.step("a watch shows an edit within seconds", func(t *testing.T) {
		w.bash(t, 0, "kubectl apply -f revision-v3.yaml")
		w.bash(t, 0, "./run-test.sh 100")
		watch := w.startWatch(t)
		watch.await(t, "v2", "50%", 30, 70)
		w.bash(t, 0, "kubectl apply -f revision-v3-2.yaml")
		watch.await(t, "v3", "30%", 15, 45)
		w.bash(t, 0, "kubectl apply -f revision-v1.yaml")
		watch.await(t, "v1", "100%", 100, 100)
		watch.end(t)
	})
	w.step("a bad v4 is seen at its tag, and rolled back before anybody meets it", func(t *testing.T) {
		w.bash(t, 0, "kubectl apply -f examples/revision-v4-bad.yaml")
		w.told(t, w.bash(t, 1, "./latest-run-test.sh 20"), "requests failed: status 500 from stock-service-example-v4")
		w.bash(t, 0, "kubectl apply -f revision-v3.yaml")
		w.shares(t, w.bash(t, 0, "./latest-run-test.sh 20"), "v3 100%")
	})
	w.step("in trouble, the scripts say which", w.troubles)
	w.step("v3 scales to zero, and its tag's first request wakes it", func(t *testing.T) {
		w.bash(t, 0, "kubectl wait --for delete --timeout 4m --namespace "+w.namespace+
			" pod --selector serving.knative.dev/revision=stock-service-example-v3") // by default it takes 90 s
		if got := w.bash(t, 0, "./latest-run-test.sh"); got != "Welcome to the v3 app! \n" {
			t.Errorf("latest-run-test.sh printed %q", got)
		}
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
		revision := " --timeout 60s --namespace " + w.namespace + " revision/pods-v2"
		w.bash(t, 0, "kubectl wait --for create"+revision) // it cannot wait for a field of what is not there yet
		w.bash(t, 0, "kubectl wait --for 'jsonpath={.status.actualReplicas}=3'"+revision)
		const sharesAndPods = `(?m)^pods-(\S+) .*? (\d+%)  +[\d.]+%  +\d+  +(\d+)`
		w.rows(t, w.bash(t, 0, "SVC_NAME=pods ./run-test.sh 300"), sharesAndPods, []string{"v1 50% 1", "v2 50% 3"})
		w.patch(t, "pods", `[{"revisionName":"pods-v1","percent":90},{"revisionName":"pods-v2","percent":10}]`)
		w.rows(t, w.bash(t, 0, "SVC_NAME=pods ./run-test.sh 600"), sharesAndPods, []string{"v1 90% 1", "v2 10% 3"})
	})
}

// TestE2EFiles applies the four files as people and controllers do, on a
// cluster whose platform has defaults for all that a container may leave out,
// and changes them in the middle.
func TestE2EFiles(t *testing.T) {
	for _, apply := range []string{"kubectl apply", "kubectl apply --server-side"} {
		t.Run(apply, func(t *testing.T) {
			w := newWalk(t)
			w.settings(t, "config-features", "secure-pod-defaults", "enabled")
			w.settings(t, "config-defaults", platformDefaults("100m", "50Mi")...)
			var load *load
			for i, n := range []int{0, 1, 2, 3, 1, 0, 3, 0} { // to the end, and back
				file := rehearsal.Files[n]
				if i == 4 {
					w.settings(t, "config-defaults", platformDefaults("150m", "70Mi")...)
				}
				w.step(fmt.Sprintf("%d: %s", i+1, file.Name), func(t *testing.T) {
					w.bash(t, 0, apply+" -f "+file.Name)
					w.shares(t, w.bash(t, 0, "./run-test.sh 200"), shares(file.Split)...)
					w.shares(t, w.bash(t, 0, "./latest-run-test.sh 50"), file.Latest+" 100%")
				})
				if i == 0 {
					load = w.startLoad(t)
				}
			}
			w.step("the file rolls back what a patch has released", func(t *testing.T) {
				w.bash(t, 0, apply+" -f revision-v2.yaml")
				w.bash(t, 0, "./run-test.sh 100")
				w.patch(t, "stock-service-example", `[{"revisionName":"stock-service-example-v2","percent":100}]`)
				w.shares(t, w.bash(t, 0, "./run-test.sh 50"), "v2 100%")
				if strings.Contains(apply, "--server-side") {
					w.told(t, w.bash(t, 1, apply+" -f revision-v1.yaml"), "conflict", ".spec.traffic")
					apply += " --force-conflicts"
				}
				w.bash(t, 0, apply+" -f revision-v1.yaml")
				w.shares(t, w.bash(t, 0, "./run-test.sh 50"), "v1 100%")
			})
			load.stop(t)
			w.step("the README's clean-up leaves room for an apply at once", func(t *testing.T) {
				cleanUp := regexp.MustCompile("kubectl delete ksvc [^`]*").FindString(w.manifest(t, "README.md"))
				w.bash(t, 0, cleanUp+" --namespace "+w.namespace)
				w.bash(t, 0, apply+" -f revision-v1.yaml")
				w.shares(t, w.bash(t, 0, "./run-test.sh 50"), "v1 100%")
			})
		})
	}
}

// platformDefaults are all that a platform can have for a container's resources.
func platformDefaults(cpu, bytes string) (pairs []string) {
	for _, of := range []string{"request", "limit"} {
		pairs = append(pairs, "revision-cpu-"+of, cpu, "revision-memory-"+of, bytes, "revision-ephemeral-storage-"+of, bytes)
	}
	return pairs
}

// settings changes names and values in one of Knative's ConfigMaps until the
// test ends, if the cluster is the test's alone, and says whether it did.
func (w *walk) settings(t *testing.T, configMap string, pairs ...string) bool {
	t.Helper()
	if os.Getenv("ALONE") == "" {
		t.Logf("%s is left as it is: without ALONE=1 the cluster may have other users", configMap)
		return false
	}
	var before struct{ Data map[string]any }
	if err := json.Unmarshal([]byte(w.bash(t, 0, "kubectl get configmap --namespace knative-serving --output json "+configMap)), &before); err != nil {
		t.Fatal(err)
	}
	set, restore := map[string]any{}, map[string]any{}
	for pair := range slices.Chunk(pairs, 2) {
		set[pair[0]], restore[pair[0]] = pair[1], before.Data[pair[0]] // or null, which removes it
	}
	patch := func(data map[string]any) {
		text, _ := json.Marshal(map[string]any{"data": data})
		w.bash(t, 0, "kubectl patch configmap --namespace knative-serving "+configMap+" --type merge --patch '"+string(text)+"'")
	}
	t.Cleanup(func() { patch(restore) })
	patch(set)
	time.Sleep(3 * time.Second) // Knative's webhook watches it, and tells nobody when it has read it
	return true
}

// shares are what the table shows of a split, as v1=50,v2=50.
func shares(split string) []string {
	return strings.Split(strings.NewReplacer("=", " ", ",", "%,").Replace(split)+"%", ",")
}

// walk is a namespace, and a folder with the manifests for it and the scripts.
type walk struct {
	t         *testing.T
	namespace string
	dir       string
}

func newWalk(t *testing.T) *walk {
	w := &walk{t: t, namespace: "stock-e2e-" + strings.ToLower(rand.Text()[:6]), dir: t.TempDir()}
	for _, name := range glob(t, "revision-*.yaml", "examples/revision-*.yaml", "*.sh", "scripts/*") {
		w.write(t, name, w.manifest(t, name))
	}
	t.Cleanup(func() { w.bash(t, 0, "kubectl delete namespace --wait=false --ignore-not-found "+w.namespace) })
	w.bash(t, 0, "kubectl create namespace "+w.namespace)
	return w
}

// manifest is the project's file, for the walk's namespace and IMAGE.
func (w *walk) manifest(t *testing.T, name string) string {
	manifest := strings.ReplaceAll(read(t, name), "namespace: default", "namespace: "+w.namespace)
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

// patch changes a Service's traffic, as the canary does.
func (w *walk) patch(t *testing.T, service, traffic string) {
	t.Helper()
	w.bash(t, 0, "kubectl patch ksvc "+service+" --namespace "+w.namespace+` --type merge --patch '{"spec":{"traffic":`+traffic+"}}'")
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
	path := filepath.Join(w.dir, name)
	if err := cmp.Or(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o755)); err != nil {
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

func (w *walk) rows(t *testing.T, out, pattern string, want []string) {
	t.Helper()
	var got []string
	for _, row := range regexp.MustCompile(pattern).FindAllStringSubmatch(out, -1) {
		got = append(got, strings.Join(row[1:], " "))
	}
	if !slices.Equal(got, want) {
		t.Errorf("rows %q, want %q", got, want)
	}
}
