//go:build e2e

package test

import (
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

// troubles are Services that are broken, slow, partly rolled out or many, each
// on its own. They are watched side by side, as each waits for something.
func (w *walk) troubles(t *testing.T) {
	for name, do := range map[string]func(t *testing.T){
		"an image that is not there":             w.brokenImage,
		"a program that ends at once":            w.brokenStart,
		"a Service that never was ready":         w.neverReady,
		"a file that was skipped":                w.skippedFile,
		"a gradual rollout":                      w.gradualRollout,
		"a first answer that takes 12 s":         w.slowAnswer,
		"a revision that times out in its queue": w.timesOut,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			do(t)
		})
	}
}

func (w *walk) brokenImage(t *testing.T) {
	w.apply(t, "image", "revision-v1.yaml")
	w.bash(t, 0, "SVC_NAME=image ./run-test.sh")
	w.apply(t, "image", "revision-v2.yaml")
	w.bash(t, 0, "SVC_NAME=image ./run-test.sh 50")
	w.apply(t, "image", "revision-v3.yaml", image(), image()+"-none")
	out := w.bash(t, 1, "SVC_NAME=image ./run-test.sh --wait 30 100")
	w.shares(t, out, "v1 50%", "v2 50%")
	w.told(t, out, "is not as its spec asks: image-v3 is not ready", "Image")
	w.told(t, w.bash(t, 1, "SVC_NAME=image ./latest-run-test.sh --wait 10 20"), "is not as its spec asks: image-v3 is not ready")
}

func (w *walk) brokenStart(t *testing.T) {
	w.apply(t, "start", "revision-v1.yaml")
	w.bash(t, 0, "SVC_NAME=start ./run-test.sh")
	w.apply(t, "start", "revision-v2.yaml")
	w.bash(t, 0, "SVC_NAME=start ./run-test.sh 50")
	w.apply(t, "start", "revision-v3.yaml", env("RESOURCE", "v3"), env("RESOURCE", "v3", "ERROR_RATE", `"2"`))
	out := w.bash(t, 1, "SVC_NAME=start ./run-test.sh --wait 30 100")
	w.shares(t, out, "v1 50%", "v2 50%")
	w.told(t, out, "is not as its spec asks: ", "start-v3")
	w.told(t, w.bash(t, 1, "SVC_NAME=start ./latest-run-test.sh --wait 10 20"), "is not as its spec asks: ", "start-v3")
}

func (w *walk) neverReady(t *testing.T) {
	w.apply(t, "never", "revision-v1.yaml", image(), image()+"-none")
	w.told(t, w.bash(t, 2, "SVC_NAME=never ./run-test.sh --wait 30"), "Image")
}

func (w *walk) skippedFile(t *testing.T) {
	w.apply(t, "skipped", "revision-v1.yaml")
	w.bash(t, 0, "SVC_NAME=skipped ./run-test.sh")
	w.apply(t, "skipped", "revision-v3.yaml")
	out := w.bash(t, 1, "SVC_NAME=skipped ./run-test.sh --wait 30 20")
	w.told(t, out, `RevisionMissing: Revision "skipped-v2" referenced in traffic not found.`)
	w.apply(t, "skipped", "revision-v2.yaml")
	w.bash(t, 0, "SVC_NAME=skipped ./run-test.sh 100")
}

func (w *walk) gradualRollout(t *testing.T) {
	manifest := func(resource string) string {
		v1, _, _ := strings.Cut(w.manifest(t, "revision-v1.yaml"), "\n  traffic:\n")
		metadata := "  namespace: " + w.namespace + "\n"
		return strings.NewReplacer("stock-service-example", "gradual", metadata, metadata+"  annotations:\n    serving.knative.dev/rollout-duration: 40s\n",
			"      name: stock-service-example-v1\n", "", "value: v1", "value: "+resource).Replace(v1) +
			"\n  traffic:\n    - latestRevision: true\n      percent: 100\n    - latestRevision: true\n      percent: 0\n      tag: latest\n"
	}
	w.write(t, "gradual-a.yaml", manifest("a"))
	w.write(t, "gradual-b.yaml", manifest("b"))
	w.bash(t, 0, "kubectl apply -f gradual-a.yaml")
	w.bash(t, 0, "SVC_NAME=gradual ./run-test.sh")
	w.bash(t, 0, "kubectl apply -f gradual-b.yaml")
	const says = "run-test.sh: a gradual rollout is in progress: the shares are not judged"
	w.told(t, w.bash(t, 1, "SVC_NAME=gradual ./run-test.sh 50"), says, "gradual-00001", "gradual-00002")
	w.told(t, w.bash(t, 1, "SVC_NAME=gradual ./latest-run-test.sh 50"), says)
	w.bash(t, 0, "kubectl wait --timeout 90s --for condition=Ready --namespace "+w.namespace+" ksvc/gradual")
	w.shares(t, w.bash(t, 0, "SVC_NAME=gradual ./run-test.sh 50"), "00002 100%")
}

func (w *walk) slowAnswer(t *testing.T) {
	w.apply(t, "slow", "revision-v1.yaml")
	w.bash(t, 0, "SVC_NAME=slow ./run-test.sh")
	w.apply(t, "slow", "revision-v2.yaml", env("RESOURCE", "v2"), env("RESOURCE", "v2", "LATENCY", "12s"))
	if got := w.bash(t, 0, "SVC_NAME=slow ./latest-run-test.sh"); !strings.HasSuffix(got, "Welcome to the v2 app! \n") {
		t.Errorf("it printed %q", got)
	}
}

func (w *walk) timesOut(t *testing.T) {
	w.apply(t, "late", "revision-v1.yaml")
	w.bash(t, 0, "SVC_NAME=late ./run-test.sh")
	w.apply(t, "late", "revision-v2.yaml", "      containers:\n", "      timeoutSeconds: 1\n      containers:\n",
		env("RESOURCE", "v2"), env("RESOURCE", "v2", "LATENCY", "3s"))
	out := w.bash(t, 1, "SVC_NAME=late ./run-test.sh 20")
	w.told(t, out, "requests failed: status 504, which names no revision")
	if strings.Contains(out, "chance explains") {
		t.Error("it complains about shares, too")
	}
}

// watch is run-test.sh on a terminal, until Ctrl-C.
type watch struct {
	cmd      *exec.Cmd
	keyboard io.Writer
	screen   string // the file with what it writes
}

func (w *walk) startWatch(t *testing.T) *watch {
	screen := filepath.Join(w.dir, "watch.txt")
	cmd := exec.Command("script", "-qefc", "stty rows 40 cols 120; exec ./run-test.sh --rate 20 99999", screen)
	cmd.Dir = w.dir
	cmd.Env = append(os.Environ(), "NAMESPACE="+w.namespace, "TERM=xterm", "SHELL=/bin/bash")
	keyboard, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill() })
	return &watch{cmd, keyboard, screen}
}

// await waits until the table shows a revision with this percentage, and
// an observed share within bounds.
func (w *watch) await(t *testing.T, revision, percent string, least, most float64) {
	t.Helper()
	row := regexp.MustCompile(`stock-service-example-` + revision + ` .*? (\d+%)  +([\d.]+)%`)
	start := time.Now()
	for {
		text, _ := os.ReadFile(w.screen)
		rows := row.FindAllStringSubmatch(string(text), -1)
		if len(rows) > 0 {
			last := rows[len(rows)-1]
			share, _ := strconv.ParseFloat(last[2], 64)
			if last[1] == percent && least <= share && share <= most {
				t.Logf("after %v it shows %s", time.Since(start).Round(100*time.Millisecond), last[0])
				return
			}
		}
		if time.Since(start) > 15*time.Second {
			t.Fatalf("after 15 s it does not show %s of %s; its last rows:\n%s", revision, percent, text[max(0, len(text)-600):])
		}
		time.Sleep(100 * time.Millisecond)
	}
}

func (w *watch) end(t *testing.T) {
	io.WriteString(w.keyboard, "\x03") // Ctrl-C
	w.cmd.Wait()
	text, _ := os.ReadFile(w.screen)
	t.Logf("%s", text[max(0, len(text)-800):])
	if code := w.cmd.ProcessState.ExitCode(); code != 130 || !strings.Contains(string(text), "interrupted after") {
		t.Errorf("after Ctrl-C, exit status %d, want 130", code)
	}
}
