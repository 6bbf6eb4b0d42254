package test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
)

// On a terminal the table grows in place; where a row does not fit, whole
// columns are left out. The last table is whole.
func TestScriptGrowsTableOnTerminal(t *testing.T) {
	if _, err := exec.LookPath("script"); err != nil || runtime.GOOS != "linux" {
		t.Skip("no script(1) of util-linux to make a terminal with")
	}
	const last = `REVISION                    OBSERVED  COUNT
v1                             25.0%     15  ###
v2                             50.0%     30  #####
v3-with-a-name-of-26-bytes     25.0%     15  ###

ok: no request failed; no percentages were given
with 60 requests, failures of one in 13 show 99 times in 100
`
	tests := []struct {
		columns, lines int
		header         string // of the tables before the last; there are none where they do not fit
	}{
		{80, 24, "REVISION                    OBSERVED  COUNT"},
		{43, 24, "REVISION                    OBSERVED  COUNT"},
		{42, 24, "REVISION                    OBSERVED"},
		{40, 24, "REVISION                    OBSERVED"},
		{26, 24, "REVISION"},
		{12, 24, "REVISION"},
		{80, 4, ""},
		{0, 0, ""},
	}
	for _, tt := range tests {
		t.Run(fmt.Sprint(tt.columns, "x", tt.lines), func(t *testing.T) {
			t.Parallel()
			gateway := answers{from("v1"), from("v2"), from("v3-with-a-name-of-26-bytes"), from("v2")}.gateway(t, "localhost")
			defer gateway.Close()
			cmd := exec.Command("script", "-qec", fmt.Sprintf("stty cols %d rows %d; ./run-test.sh 60", tt.columns, tt.lines), "/dev/null")
			cmd.Env = append(os.Environ(), "GATEWAY="+gateway.Listener.Addr().String(), "DOMAIN_NAME=localhost", "RATE=20", "TERM=xterm")
			out, err := cmd.CombinedOutput()
			if err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			drawn := strings.Split(strings.ReplaceAll(string(out), "\r\n", "\n"), "\x1b[J")
			if got := drawn[len(drawn)-1]; !strings.HasSuffix(got, last) {
				t.Errorf("it ends with\n%s\nwant\n%s", got, last)
			}
			if tt.header == "" {
				if n := strings.Count(string(out), "REVISION"); n != 1 {
					t.Errorf("%d tables, want the last alone:\n%s", n, out)
				}
				return
			}
			if len(drawn) < 3 {
				t.Fatalf("%d tables, want more:\n%s", len(drawn)-1, out)
			}
			for _, table := range drawn[1 : len(drawn)-1] {
				rows := strings.Split(table, "\n")
				if rows[0] != tt.header {
					t.Errorf("got the headings %q, want %q", rows[0], tt.header)
				}
				for _, row := range rows[1 : len(rows)-1] {
					cells := strings.TrimRight(row, " #")
					if len(row) > tt.columns || strings.Contains(cells, " ") && len(cells) != len(tt.header) {
						t.Errorf("a row on a terminal of %d columns has a cell too many or too few: %q", tt.columns, row)
					}
				}
				if up := fmt.Sprintf("\x1b[%dA", len(rows)-1); rows[len(rows)-1] != up {
					t.Errorf("after %d rows it moves by %q, want %q", len(rows)-1, rows[len(rows)-1], up)
				}
			}
		})
	}
}

// TestScriptOnAwks tallies alike with each awk that is installed.
func TestScriptOnAwks(t *testing.T) {
	gateway := append(times(3, from("v1"), from("v2")), from("v3").with(500), from("v2").going(truncated)).gateway(t, routeHost)
	defer gateway.Close()
	server := httptest.NewServer(&cluster{states: []object{readyService(split433...)}})
	defer server.Close()
	want := ""
	for _, awk := range awks {
		t.Run(awk, func(t *testing.T) {
			path := toolsWith(t, awk)
			link(t, self(t), filepath.Join(path, "kubectl"))
			for _, locale := range locales() {
				got := runIn(t, path, "./run-test.sh", []string{"80"}, []string{"LC_ALL=" + locale, "WITHIN=20.5", "STUB_SERVER=" + server.URL, "GATEWAY=" + gateway.Listener.Addr().String()})
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

// locales are one with a decimal point and, where it is installed, one with a
// decimal comma.
func locales() []string {
	installed, _ := exec.Command("locale", "-a").Output()
	if strings.Contains(string(installed), "de_DE.utf8") {
		return []string{"C", "de_DE.utf8"}
	}
	return []string{"C"}
}

// Previews of pull requests pile up in one traffic block.
func TestScriptJudgesManyRevisions(t *testing.T) {
	many := []target{{"v1", "", 90}, {"v2", "", 10}}
	for i := range 23 {
		many = append(many, target{fmt.Sprint("v", i+3), fmt.Sprint("pr-", i+3), 0})
	}
	var strangers answers
	for i := range 60 {
		strangers = append(strangers, from(fmt.Sprint("x", i+1)))
	}
	tests := []struct {
		name    string
		answers answers
		stderr  string
		ok      bool
	}{
		{"as they should be", append(times(9, from("v1")), from("v2")), "", true},
		{"half and half", answers{from("v1"), from("v2")}, `stock-service-example-v1 got 150 of 300, and chance explains … to … for 90%
stock-service-example-v2 got 150 of 300, and chance explains … to … for 10%
`, false},
		{"one that has no share", append(times(26, from("v1")), append(times(3, from("v2")), from("v25"))...), `stock-service-example-v25 got 10 of 300, and chance explains 0 to 0 for 0%
`, false},
		{"a stranger", append(times(134, from("v1")), append(times(15, from("v2")), from("x1"))...), `stock-service-example-x1 got 2 of 300, and chance explains 0 to 0 for 0%
`, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			gateway := tt.answers.gateway(t, routeHost)
			defer gateway.Close()
			got := runScript(t, kubectls(t)[0], &cluster{states: []object{readyService(many...)}}, "./run-test.sh", []string{"300"}, []string{"GATEWAY=" + gateway.Listener.Addr().String()})
			if (got.code == 0) != tt.ok || !like(said(tt.stderr), got.stderr) {
				t.Errorf("got\n%v\nwant on standard error\n%s", got, said(tt.stderr))
			}
		})
	}
	t.Run("more strangers than the table has rows for", func(t *testing.T) {
		gateway := strangers.gateway(t, "localhost")
		defer gateway.Close()
		got := runScript(t, kubectl{}, &cluster{}, "./run-test.sh", []string{"60"}, []string{"DOMAIN_NAME=localhost", "GATEWAY=" + gateway.Listener.Addr().String()})
		if rows := strings.Count(got.stdout, "%"); rows != 20 || got.code != 1 || got.stderr != "run-test.sh: 40 of 60 answers name no revision in the header X-Revision\n" {
			t.Errorf("%d rows, got\n%v", rows, got)
		}
	})
}

// A watch shows what is so since the last change of the traffic.
func TestScriptWatches(t *testing.T) {
	half := []target{{"v1", "", 50}, {"v2", "", 50}}
	before, all := readyService(half...), service(2, 2, "True", "", "", target{"v2", "", 100})
	rolling := service(2, 2, "Unknown", "RolloutInProgress", "…", target{"v2", "", 82}, target{"v1", "", 18})
	tests := []struct {
		name   string
		states []object // before and after
		stdout string
		stderr string
	}{
		{"traffic that changes", []object{before, all}, `REVISION                  TAG  EXPECTED  OBSERVED  COUNT
stock-service-example-v2           100%    100.0%  …  ##########
stock-service-example-v1             0%      0.0%      0
`, "the Service has changed: the shares are not judged\n"},
		{"a rollout that goes on", []object{before, rolling}, `REVISION                  TAG  EXPECTED  OBSERVED  COUNT
stock-service-example-v2            82%    100.0%  …  ##########
stock-service-example-v1            18%      0.0%      0
`, "a gradual rollout is in progress: the shares are not judged\n"},
		{"an edit that is not in force yet", []object{before, service(2, 1, "True", "", "", half...)}, `REVISION                  TAG  EXPECTED  OBSERVED  COUNT
stock-service-example-v1            50%      0.0%      0
stock-service-example-v2            50%    100.0%  …  ##########
`, "the Service has changed: the shares are not judged\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c := &cluster{states: tt.states}
			var n atomic.Int64
			gateway := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				answer := from("v1")
				if c.asked.Load() > 1 { // the change has been told
					answer = from("v2")
				}
				answers{answer}.ServeHTTP(w, r, int(n.Add(1)))
			}))
			defer gateway.Close()
			got := runScript(t, kubectls(t)[0], c, "./run-test.sh", []string{"100"}, []string{"RATE=20", "GATEWAY=" + gateway.Listener.Addr().String()})
			got.stdout = strings.ReplaceAll(got.stdout, gateway.Listener.Addr().String(), "GATEWAY")
			if got.code != 1 || !like("100"+to+tt.stdout, got.stdout) || got.stderr != said(tt.stderr) {
				t.Errorf("got\n%v\nwant\n%s%s", got, tt.stdout, said(tt.stderr))
			}
		})
	}
}
