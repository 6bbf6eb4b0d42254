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

// troubles are Services that are broken, slow or partly rolled out, each on its
// own. They are watched side by side, as each waits for something.
func (w *walk) troubles(t *testing.T) {
	const notAsIs = "is not as its spec asks: "
	in := func(service string, do func(t *testing.T)) {
		t.Run(service, func(t *testing.T) {
			t.Parallel()
			if service != "gradual" {
				w.apply(t, service, "revision-v1.yaml")
				w.bash(t, 0, "SVC_NAME="+service+" ./run-test.sh")
			}
			do(t)
		})
	}
	for service, broken := range map[string][]string{
		"image": {image(), image() + "-none", "Image"},
		"start": {env("RESOURCE", "v3"), env("RESOURCE", "v3", "ERROR_RATE", `"2"`), "start-v3"},
	} {
		in(service, func(t *testing.T) {
			w.apply(t, service, "revision-v2.yaml")
			w.bash(t, 0, "SVC_NAME="+service+" ./run-test.sh 50")
			w.apply(t, service, "revision-v3.yaml", broken[:2]...)
			out := w.bash(t, 1, "SVC_NAME="+service+" ./run-test.sh --wait 30 100")
			w.shares(t, out, "v1 50%", "v2 50%")
			w.told(t, out, notAsIs, broken[2])
			w.told(t, w.bash(t, 1, "SVC_NAME="+service+" ./latest-run-test.sh --wait 10 20"), notAsIs, broken[2])
		})
	}
	in("skipped", func(t *testing.T) {
		w.apply(t, "skipped", "revision-v3.yaml")
		w.told(t, w.bash(t, 1, "SVC_NAME=skipped ./run-test.sh --wait 30 20"), `RevisionMissing: Revision "skipped-v2" referenced in traffic not found.`)
		w.apply(t, "skipped", "revision-v2.yaml")
		w.bash(t, 0, "SVC_NAME=skipped ./run-test.sh 100")
	})
	in("slow", func(t *testing.T) {
		w.apply(t, "slow", "revision-v2.yaml", env("RESOURCE", "v2"), env("RESOURCE", "v2", "LATENCY", "12s"))
		w.told(t, w.bash(t, 0, "SVC_NAME=slow ./latest-run-test.sh"), "Welcome to the v2 app! \n")
	})
	in("late", func(t *testing.T) {
		w.apply(t, "late", "revision-v2.yaml", "      containers:\n", "      timeoutSeconds: 1\n      containers:\n",
			env("RESOURCE", "v2"), env("RESOURCE", "v2", "LATENCY", "3s"))
		w.told(t, w.bash(t, 1, "SVC_NAME=late ./run-test.sh 20"), "requests failed: status 504, which names no revision")
	})
	in("gradual", func(t *testing.T) {
		metadata := "  namespace: " + w.namespace + "\n"
		slowly := []string{metadata, metadata + "  annotations: {serving.knative.dev/rollout-duration: 40s}\n", "\n      name: gradual-v1\n", " {}\n",
			"revisionName: gradual-v1\n", "latestRevision: true\n", "      tag: v1\n", ""}
		w.apply(t, "gradual", "revision-v1.yaml", slowly...)
		w.bash(t, 0, "SVC_NAME=gradual ./run-test.sh")
		w.apply(t, "gradual", "revision-v1.yaml", append(slowly, "value: v1\n", "value: b\n")...)
		const says = "run-test.sh: a gradual rollout is in progress: the shares are not judged"
		w.told(t, w.bash(t, 1, "SVC_NAME=gradual ./run-test.sh 50"), says, "gradual-00001", "gradual-00002")
		w.told(t, w.bash(t, 1, "SVC_NAME=gradual ./latest-run-test.sh 50"), says)
		w.bash(t, 0, "kubectl wait --timeout 90s --for condition=Ready --namespace "+w.namespace+" ksvc/gradual")
		w.shares(t, w.bash(t, 0, "SVC_NAME=gradual ./run-test.sh 50"), "00002 100%")
	})
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
	keyboard, _ := cmd.StdinPipe()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill() })
	return &watch{cmd, keyboard, screen}
}

// last returns what the table has shown last, of all it has written.
func (w *watch) last() string {
	text, _ := os.ReadFile(w.screen)
	return string(text[max(0, len(text)-800):])
}

// await waits until the table shows a revision with this percentage, and an
// observed share within bounds.
func (w *watch) await(t *testing.T, revision, percent string, least, most float64) {
	t.Helper()
	row := regexp.MustCompile(`stock-service-example-` + revision + ` .*? ` + percent + `  +([\d.]+)%`)
	for end := time.Now().Add(15 * time.Second); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		rows := append([][]string{{"", "-1"}}, row.FindAllStringSubmatch(w.last(), -1)...)
		if share, _ := strconv.ParseFloat(rows[len(rows)-1][1], 64); least <= share && share <= most {
			return
		}
	}
	t.Fatalf("after 15 s it does not show %s of %s, but\n%s", revision, percent, w.last())
}

func (w *watch) end(t *testing.T) {
	io.WriteString(w.keyboard, "\x03") // Ctrl-C
	w.cmd.Wait()
	if code := w.cmd.ProcessState.ExitCode(); code != 130 || !strings.Contains(w.last(), "interrupted after") {
		t.Errorf("after Ctrl-C, exit status %d, want 130, and\n%s", code, w.last())
	}
}
