package test

import (
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// It gives up on a gateway that is gone, and on one that accepts and is silent.
// Where the failures decide, it ends while other requests hang.
func TestScriptGivesUp(t *testing.T) {
	silent := answer{wait: time.Minute}
	check(t, []run{
		{name: "gone", args: "99999", env: []string{"GATEWAY=" + closedPort(t)}, answers: both, code: 1, out: "…\n",
			err: "gave up after … of 99999 requests\n… requests failed: no answer (Failed to connect to 127.0.0.1 port …: C… connect to server)\n" +
				"set GATEWAY to an address of the gateway, with http:// where it takes no https\n"},
		{name: "silence", args: "--timeout 2 200", answers: answers{silent}, code: 1, out: "…\n",
			err: "gave up after … of 200 requests\n… requests failed: connected, but no answer within 2 s\n"},
		{name: "failures", args: "--fail-fast --parallel 4 300", answers: append(answers{{revision: "v1", status: 500}}, times(300, silent)...), code: 1, out: "…\nv1 …\n",
			err: "stopped after 1 of 300 requests\n1 of 1 requests failed: status 500 from v1\n"},
	})
}

// No more requests than --parallel are on their way at the same time, and no
// more are sent per second than --rate says.
func TestScriptSendsSeveralAtATime(t *testing.T) {
	for _, tt := range []struct {
		args        string
		most        int
		wait, least time.Duration
	}{{"20", 2, 200, 0}, {"--parallel 6 30", 6, 200, 0}, {"--rate 10 --parallel 4 20", 4, 0, 1500}} {
		var now, most int
		var mu sync.Mutex
		var first, last time.Time
		count := func(n int) {
			mu.Lock()
			last = time.Now()
			first = map[bool]time.Time{true: last, false: first}[first.IsZero()]
			now, most = now+n, max(most, now+n)
			mu.Unlock()
		}
		r := run{name: tt.args, args: tt.args, out: "…\nv1 …\n\nok: …\n", gateway: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			count(1)
			defer count(-1)
			answer{revision: "v1", wait: tt.wait * time.Millisecond}.ServeHTTP(w, r)
		})}
		r.check(t, stub(t))
		if took := last.Sub(first); most < 2 && tt.wait > 0 || most > tt.most || took < tt.least*time.Millisecond {
			t.Errorf("%s: up to %d at the same time, in %v", tt.args, most, took)
		}
	}
}

// https asks the route's own name: the certificate, SNI and Host are its. What
// stands behind -- is for curl.
func TestScriptWithTLS(t *testing.T) {
	gateway := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		answer{revision: "v1", text: r.Method + " " + r.Host + " " + r.Header.Get("X-Who")}.ServeHTTP(w, r)
	}))
	gateway.Config.ErrorLog = log.New(io.Discard, "", 0)
	gateway.StartTLS() // its certificate is for example.com
	t.Cleanup(gateway.Close)
	dir := t.TempDir()
	write(t, filepath.Join(dir, "ca.pem"), string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: gateway.Certificate().Raw})))
	write(t, filepath.Join(dir, "header"), "X-Who: me")
	env := []string{"GATEWAY=" + gateway.Listener.Addr().String(), "CURL_CA_BUNDLE=" + dir + "/ca.pem"}
	c := serving(ksvc{spec: "v1,,100", url: "https://example.com"})
	check(t, []run{
		{name: "with", args: "-- --header @" + dir + "/header --request POST", cluster: c, env: env, out: "POST example.com me"},
		{name: "without", cluster: c, env: env[:1], code: 1, err: "1 of 1 requests failed: no answer (SSL …)\nset GATEWAY…\n"},
	})
}

// A signal ends the script and its children at once, in whatever they are.
func TestScriptIsInterrupted(t *testing.T) {
	for name, hangs := range map[string]int{"before": 1, "while": 2, "after": 2, "without a cluster": 0} {
		for sig, code := range map[syscall.Signal]int{syscall.SIGINT: 130, syscall.SIGTERM: 143, syscall.SIGHUP: 129} {
			t.Run(fmt.Sprint(name, " ", sig), func(t *testing.T) {
				if signal.Ignored(sig) {
					t.Skip(sig, " is ignored here, which a shell cannot trap")
				}
				t.Parallel()
				reached, c := make(chan struct{}, 100), serving(ksvc{spec: "v1,,100"})
				hang := func(n int, r *http.Request) bool {
					if n == hangs {
						reached <- struct{}{}
						<-r.Context().Done()
					}
					return false
				}
				c.fault = hang
				api := httptest.NewServer(c)
				gateway := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					hang(0, r)
					answer{revision: "v1", wait: map[string]time.Duration{"while": 50 * time.Millisecond}[name]}.ServeHTTP(w, r)
				}))
				t.Cleanup(gateway.Close)
				t.Cleanup(api.Close)
				tmp, n := t.TempDir(), map[string]string{"while": "400"}[name]+"20"
				env := []string{"TMPDIR=" + tmp, "GATEWAY=" + gateway.Listener.Addr().String(), "DOMAIN_NAME=" + map[int]string{0: "localhost"}[hangs]}
				cmd := command(t, stub(t), api.URL, "./run-test.sh", []string{n}, env)
				cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
				to := map[bool]int{true: -1, false: 1}[sig == syscall.SIGINT] // to all, as a terminal does
				go func() {
					<-reached
					syscall.Kill(to*cmd.Process.Pid, sig)
					syscall.Kill(to*cmd.Process.Pid, sig) // twice, as timeout(1) does
				}()
				start := time.Now()
				got := finished(t, cmd)
				if told := strings.Contains(got.stderr, "interrupted after "); got.code != code || told == (name == "before") || time.Since(start) > 30*time.Second {
					t.Errorf("after %v got\n%v\nwant exit %d", time.Since(start), got, code)
				}
				noneLeft(t, tmp)
			})
		}
	}
}

// What cannot be printed or kept is never told as ok.
func TestScriptCannotWrite(t *testing.T) {
	gateway := httptest.NewServer(from("v1"))
	defer gateway.Close()
	env := []string{"DOMAIN_NAME=localhost", "GATEWAY=" + gateway.Listener.Addr().String()}
	for _, n := range []string{"1", "20"} {
		full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
		if err != nil {
			t.Skip(err)
		}
		reader, left, _ := os.Pipe()
		reader.Close()
		for file, says := range map[*os.File]string{full: "write error: No space left on device\n", left: ""} {
			cmd := command(t, stub(t), "", "./run-test.sh", []string{n}, env)
			cmd.Stdout = file
			if got := finished(t, cmd); got.code == 0 || !strings.HasSuffix(got.stderr, says) || (says == "") != (got.stderr == "") {
				t.Errorf("%s requests to %s: %v", n, file.Name(), got)
			}
			file.Close()
		}
	}
}

// Programs of its own machine that behave otherwise.
func TestScriptBesideOtherPrograms(t *testing.T) {
	const shared = "…\nv1 …\nv2 …\n\nok: …\n"
	const unknown = "curl 7.75 is needed, or 7.84 for --rate: curl: unknown --write-out variable: 'exitcode'\n"
	for _, tt := range []struct {
		program, does string
		run
	}{
		{"awk", "echo warning: x >&2\nexec REAL \"$@\"", run{name: "an awk that warns", out: shared, err: "warning: x\nwarning: x\n"}},
		{"curl", "echo curl: /lib/libcurl.so.4: no version information available >&2\nexec REAL \"$@\"", run{name: "a curl that warns", out: shared}},
		{"curl", `kill -9 $$`, run{name: "a curl that is killed", code: 1, out: "…\n", err: "gave up after 0 of 20 requests\n"}},
		{"curl", `echo "curl: unknown --write-out variable: 'exitcode'" >&2`, run{name: "an old curl", code: 2, err: unknown}},
		{"mktemp", "unset TMPDIR; exec REAL \"$@\"", run{name: "an mktemp that does not take TMPDIR", out: shared}},
		{"kubectl", `[ -f "$HOME/in" ] || { echo 'Your code:' >&2; read -r code && [ "$code" = 42 ]; } || exit 1
			echo >"$HOME/in"; exec REAL "$@"`, run{name: "a kubectl that asks for a code, once", cluster: serving(ksvc{spec: pinned}), out: shared, err: "Your code:\n"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			dir, path := t.TempDir(), filepath.Join(t.TempDir(), "kubectl")
			link(t, stub(t).path, path)
			if found, err := exec.LookPath(tt.program); err == nil && tt.program != "kubectl" {
				path = found
			}
			write(t, filepath.Join(dir, tt.program), "#!/bin/sh\n"+strings.ReplaceAll(tt.does, "REAL", path))
			tt.args, tt.answers, tt.env = "20", both, []string{"PATH=" + dir + ":" + tools(t)}
			tt.run.check(t, stub(t))
		})
	}
}

// A watch shows what is so since the last change of the traffic.
func TestScriptWatches(t *testing.T) {
	for name, tt := range map[string]struct {
		then     ksvc
		out, err string
	}{
		"traffic that changes": {ksvc{spec: "v2,,100", edited: 2}, "v2                 100%    100.0% …  ##########\n…", edited},
		"a rollout": {ksvc{spec: "@latest,,100", status: "v2,,82 v1,,18", ready: "Unknown RolloutInProgress x"},
			"v2                  82%    100.0% …  ##########\nv1                  18%      0.0%      0\n", moving},
		"an edit that is not in force yet": {ksvc{spec: pinned, edited: 2, seen: 1}, "v1                  50%      0.0%      0\nv2                  50%    100.0% …  ##########\n", edited},
	} {
		c := serving(ksvc{spec: pinned}, tt.then)
		changing := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			from(map[bool]string{true: "v2", false: "v1"}[c.asked.Load() > 1]).ServeHTTP(w, r) // when the change has been told
		})
		check(t, []run{{name: name, args: "--rate 20 120", cluster: c, gateway: changing, code: 1, out: "REVISION  TAG  EXPECTED  OBSERVED  COUNT\n" + tt.out, err: tt.err}})
	}
}

// On a terminal the table grows in place, and the last one is whole.
func TestScriptGrowsTableOnTerminal(t *testing.T) {
	if _, err := exec.LookPath("script"); err != nil {
		t.Skip("script(1), which makes a terminal, is not installed")
	}
	gateway := httptest.NewServer(both.handler(t, "localhost", "/"))
	defer gateway.Close()
	cmd := exec.Command("script", "-qec", "stty cols 22 rows 24; ./run-test.sh --rate 20 80", "/dev/null")
	cmd.Env = append(os.Environ(), "GATEWAY="+gateway.Listener.Addr().String(), "DOMAIN_NAME=localhost", "TERM=xterm")
	out, _ := cmd.CombinedOutput()
	drawn := strings.Split(strings.ReplaceAll(string(out), "\r\n", "\n"), "\x1b[J")
	last := "REVISION  OBSERVED  COUNT\nv1           50.0%     40  #####\nv2           50.0%     40  #####\n\nok: no request failed; no percentages were given\n"
	if len(drawn) < 4 || !like("REVISION  OBSERVED\nv1 …%\nv2 …%\n\x1b[3A", drawn[2]) || drawn[len(drawn)-1] != last {
		t.Errorf("got\n%q", drawn)
	}
}
