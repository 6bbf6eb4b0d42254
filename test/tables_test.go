package test

import (
	"fmt"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
)

// On a terminal the table grows in place, at most ten times a second.
func TestScriptGrowsTableOnTerminal(t *testing.T) {
	if _, err := exec.LookPath("script"); err != nil || runtime.GOOS != "linux" {
		t.Skip("no script(1) of util-linux to make a terminal with")
	}
	gateway := answers{from("v1"), from("v2"), from("v3-with-a-name-that-is-wider-than-the-terminal-and-goes-on-and-on"), from("v2")}.gateway(t, "localhost")
	defer gateway.Close()
	cmd := exec.Command("script", "-qec", "stty cols 80; ./run-test.sh 40", "/dev/null")
	cmd.Env = append(os.Environ(), "GATEWAY="+gateway.Listener.Addr().String(), "DOMAIN_NAME=localhost", "RATE=20", "TERM=xterm")
	start := time.Now()
	out, err := cmd.CombinedOutput()
	took := time.Since(start)
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	// each draws over the one before
	frames := strings.Split(string(out), "A\r")
	if n, most := len(frames)-1, int(10*took.Seconds())+1; n < 10 || n > most {
		t.Errorf("%d tables in %v, want 10 to %d", n, took, most)
	}
	for _, frame := range frames[1:] {
		for line := range strings.Lines(frame) {
			if row, _, _ := strings.Cut(line, "\x1b"); len(row) > 80 {
				t.Errorf("a row of %d columns on a terminal of 80: %s", len(row), row)
			}
		}
	}
	if last := frames[len(frames)-1]; !strings.Contains(last, "\nok: no request failed") {
		t.Errorf("it ends with\n%s", last)
	}
}

// TestScriptOnAwks tallies alike with each awk that is installed.
func TestScriptOnAwks(t *testing.T) {
	gateway := append(times(3, from("v1"), from("v2")), from("v3").with(500), from("v2").going(truncated)).gateway(t, routeHost)
	defer gateway.Close()
	want := ""
	for _, awk := range awks {
		t.Run(awk, func(t *testing.T) {
			path := toolsWith(t, awk)
			link(t, self(t), filepath.Join(path, "kubectl"))
			server := httptest.NewServer(&cluster{states: []object{readyService(split433...)}})
			defer server.Close()
			for _, locale := range locales() {
				got := runIn(t, path, "./run-test.sh", []string{"80"}, []string{"LC_ALL=" + locale, "STUB_SERVER=" + server.URL, "GATEWAY=" + gateway.Listener.Addr().String()})
				if want == "" {
					want = got.String()
				}
				if got.code != 1 || got.String() != want || !strings.Contains(want, "10 of 80 requests failed: status 500 from stock-service-example-v3\n") {
					t.Errorf("%s: got\n%v\nwant\n%s", locale, got, want)
				}
			}
		})
	}
}

var awks = []string{"awk", "mawk", "gawk", "original-awk", "busybox awk"}

// toolsWith returns a folder with the scripts' tools, and that awk.
func toolsWith(t *testing.T, awk string) string {
	name, _, _ := strings.Cut(awk, " ")
	if _, err := exec.LookPath(name); err != nil {
		t.Skip("not installed")
	}
	path := tools(t, append(scriptTools[1:], name)...)
	if name != "awk" {
		write(t, filepath.Join(path, "awk"), "#!/bin/sh\nexec "+awk+" \"$@\"\n")
	}
	return path
}

// An awk that reads ahead would see an answer long after it came.
func TestScriptSeesEachAnswerAtOnce(t *testing.T) {
	for _, awk := range awks {
		t.Run(awk, func(t *testing.T) {
			t.Parallel()
			path := toolsWith(t, awk)
			gateway := answers{from("v1").going(noAnswer)}.gateway(t, "localhost")
			defer gateway.Close()
			start := time.Now()
			got := runIn(t, path, "./run-test.sh", []string{"50"}, []string{"RATE=2", "DOMAIN_NAME=localhost", "GATEWAY=" + gateway.Listener.Addr().String()})
			if took := time.Since(start); took > 6*time.Second || got.code != 1 || !strings.HasPrefix(got.stderr, "run-test.sh: gave up after 5 of 50 requests\n") {
				t.Errorf("after %v got\n%v", took, got)
			}
		})
	}
}

// locales are one with a decimal point and, where it is installed, one with a
// decimal comma.
func locales() []string {
	installed, _ := exec.Command("locale", "-a").Output()
	if strings.Contains(string(installed), "de_DE.utf8") {
		return []string{"C", "de_DE.utf8"}
	}
	return []string{"C"}
}

// A gateway of endless names fills neither the terminal nor the memory.
func TestScriptBoundsItsTable(t *testing.T) {
	var all answers
	for i := range 60 {
		all = append(all, from(fmt.Sprint("v", i+1)))
	}
	gateway := all.gateway(t, "localhost")
	defer gateway.Close()
	got := runScript(t, kubectl{}, &cluster{}, "./run-test.sh", []string{"60"}, []string{"DOMAIN_NAME=localhost", "GATEWAY=" + gateway.Listener.Addr().String()})
	if rows := strings.Count(got.stdout, "%"); rows != 21 || !strings.Contains(got.stdout, "\nothers                        66.7%     40  ") {
		t.Errorf("%d rows, got\n%v", rows, got)
	}
}
