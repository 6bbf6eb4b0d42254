package test

import (
	"bufio"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// It gives up on a gateway that is gone, on one that accepts and is silent, and
// on bodies that stall, but not for one of these among others.
func TestScriptGivesUp(t *testing.T) {
	const elsewhere = "set GATEWAY to an address of the gateway, with http:// where it takes no https\n"
	check(t, []run{
		{name: "gone", args: "99999", env: []string{"GATEWAY=" + closedPort(t)}, answers: both, code: 1, out: "…\n",
			err: "gave up after … of 99999 requests\n… requests failed: no answer (Failed to connect to 127.0.0.1 port …: C… connect to server)\n" + elsewhere},
		{name: "silence", args: "--timeout 2 200", answers: answers{from("v1").going(silent)}, code: 1, out: "…\n",
			err: "gave up after … of 200 requests\n… requests failed: connected, but no answer within 2 s\n"},
		{name: "silence in the middle", args: "--timeout 2 200", answers: append(times(3, from("v1")), times(300, from("v1").going(silent))...), code: 1, out: "…\nv1 …\n",
			err: "gave up after … of 200 requests\n… requests failed: connected, but no answer within 2 s\n"},
		{name: "a body that stalls among others", args: "--timeout 2 12", answers: append(times(4, from("v1")), append(times(1, from("v1").going(stalled)), times(7, from("v1"))...)...), code: 1, out: "…\nv1 …\n",
			err: "1 of 12 requests failed: an answer cut short (Operation timed out) from v1\n"},
		{name: "something else than HTTP", args: "2", answers: answers{{raw: "220 mail.example.com ESMTP\r\n"}}, code: 1, out: "…\n",
			err: "2 of 2 requests failed: no answer (Received HTTP/0.9 when not allowed)\n" + elsewhere},
	})
}

// Failures end it at once, also while other requests hang.
func TestScriptFailsFast(t *testing.T) {
	for _, tt := range []struct {
		args    string
		answers answers
	}{
		{"", append(answers{from("v1"), from("v1"), from("v1").with(500)}, times(300, from("v1").going(silent))...)},
		{"--failures-of v2", append(times(3, from("v1").with(500)), append(times(1, from("v2").with(500)), times(300, from("v1").going(silent))...)...)},
	} {
		r := run{args: "--fail-fast --parallel 4 300 " + tt.args, answers: tt.answers, host: "localhost"}
		start := time.Now()
		got := r.start(t, stub(t))
		if took := time.Since(start); got.code != 1 || !strings.HasPrefix(got.stderr, "stopped after ") || took > 30*time.Second {
			t.Errorf("%s: after %v got\n%v", tt.args, took, got)
		}
	}
}

// A client with a connection at hand would quietly ask again on another, were
// it to break; so would curl.
func TestScriptUsesNewConnections(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	var connections atomic.Int64
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			n := connections.Add(1)
			go func() { // keeps alive whatever the client says, and drops each second request
				defer conn.Close()
				requests := bufio.NewReader(conn)
				for i := n; ; i++ {
					if _, err := http.ReadRequest(requests); err != nil || i%2 == 0 {
						return
					}
					io.WriteString(conn, "HTTP/1.1 200 OK\r\nX-Revision: v1\r\nContent-Length: 2\r\n\r\nok")
				}
			}()
		}
	}()
	r := run{args: "20", answers: both, host: "localhost", env: []string{"GATEWAY=" + listener.Addr().String()}}
	if got := r.start(t, kubectl{}); got.stderr != "10 of 20 requests failed: no answer (Empty reply from server)\n" || connections.Load() != 20 {
		t.Errorf("%d connections, got\n%v", connections.Load(), got)
	}
}

// No more requests than --parallel are on their way at the same time.
func TestScriptSendsSeveralAtATime(t *testing.T) {
	for args, want := range map[string]int{"20": 2, "--parallel 6 30": 6} {
		var now, most int
		var mu sync.Mutex
		gateway := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			mu.Lock()
			now++
			most = max(most, now)
			mu.Unlock()
			time.Sleep(200 * time.Millisecond)
			mu.Lock()
			now--
			mu.Unlock()
			from("v1").ServeHTTP(w, r)
		}))
		r := run{args: args, answers: both, host: "localhost", env: []string{"GATEWAY=" + gateway.Listener.Addr().String()}}
		if got := r.start(t, kubectl{}); got.code != 0 || most < 2 || most > want {
			t.Errorf("%s: %d at the same time, want %d; got\n%v", args, most, want, got)
		}
		gateway.Close()
	}
}

// https asks the route's own name: the certificate, SNI and Host are its.
func TestScriptWithTLS(t *testing.T) {
	gateway := httptest.NewUnstartedServer(answers{from("v1")}.handler(t, "example.com", "/"))
	gateway.Config.ErrorLog = log.New(io.Discard, "", 0)
	gateway.StartTLS() // its certificate is for example.com
	defer gateway.Close()
	bundle := filepath.Join(t.TempDir(), "ca.pem")
	write(t, bundle, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: gateway.Certificate().Raw})))
	address := gateway.Listener.Addr().String()
	r := run{args: "3", cluster: serving(ksvc{spec: "v1,,100", url: "https://example.com"}), answers: both, env: []string{"GATEWAY=" + address, "CURL_CA_BUNDLE=" + bundle}}
	if got := r.start(t, stub(t)); got.code != 0 {
		t.Errorf("got\n%v", got)
	}
	r.env = r.env[:1]
	if got := r.start(t, stub(t)); got.code != 1 || !strings.Contains(got.stderr, "requests failed: no answer (SSL ") {
		t.Errorf("without the certificate's authority: got\n%v", got)
	}
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
				reached, over := make(chan struct{}, 100), make(chan struct{})
				c := serving(ksvc{spec: "v1,,100"})
				c.fault = func(n int, r *http.Request) bool {
					if n == hangs {
						reached <- struct{}{}
						select {
						case <-r.Context().Done():
						case <-over:
						}
					}
					return false
				}
				api := httptest.NewServer(c)
				gateway := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					if name == "while" {
						time.Sleep(50 * time.Millisecond)
					}
					if hangs == 0 {
						reached <- struct{}{}
						hang(r)
					}
					from("v1").ServeHTTP(w, r)
				}))
				t.Cleanup(gateway.Close)
				t.Cleanup(api.Close)
				t.Cleanup(func() { close(over) })
				tmp, n := t.TempDir(), map[string]string{"while": "400"}[name]+"20"
				env := []string{"TMPDIR=" + tmp, "GATEWAY=" + gateway.Listener.Addr().String()}
				if hangs == 0 {
					env = append(env, "DOMAIN_NAME=localhost")
				}
				cmd := command(t, stub(t), api.URL, "./run-test.sh", []string{n}, env)
				cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
				var stderr strings.Builder
				cmd.Stderr = &stderr
				if err := cmd.Start(); err != nil {
					t.Fatal(err)
				}
				<-reached
				to := cmd.Process.Pid
				if sig == syscall.SIGINT { // as a terminal does; and twice, as timeout(1) does
					to = -to
				}
				start := time.Now()
				syscall.Kill(to, sig)
				syscall.Kill(to, sig)
				cmd.Wait()
				if got := cmd.ProcessState.ExitCode(); got != code || time.Since(start) > 20*time.Second ||
					strings.Contains(stderr.String(), "interrupted after ") == (name == "before") {
					t.Errorf("after %v exit %d, want %d, and\n%s", time.Since(start), got, code, stderr.String())
				}
				noneLeft(t, tmp)
			})
		}
	}
}

// What cannot be printed or kept is never told as ok.
func TestScriptCannotWrite(t *testing.T) {
	gateway := httptest.NewServer(answers{from("v1")}.handler(t, "localhost", "/"))
	defer gateway.Close()
	env := []string{"DOMAIN_NAME=localhost", "GATEWAY=" + gateway.Listener.Addr().String()}
	for _, n := range []string{"1", "20"} {
		full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
		if err != nil {
			t.Skip(err)
		}
		defer full.Close()
		cmd := command(t, kubectl{}, "", "./run-test.sh", []string{n}, env)
		cmd.Stdout = full
		if got := finished(t, cmd); got.code == 0 || !strings.HasSuffix(got.stderr, "write error: No space left on device\n") {
			t.Errorf("%s requests to a full disk: %v", n, got)
		}
		reader, writer, _ := os.Pipe()
		reader.Close()
		cmd = command(t, kubectl{}, "", "./run-test.sh", []string{n}, env)
		cmd.Stdout = writer
		if got := finished(t, cmd); got.code == 0 || got.stderr != "" {
			t.Errorf("%s requests to a reader who has left: %v", n, got)
		}
	}
}

// Programs of its own machine that behave otherwise.
func TestScriptBesideOtherPrograms(t *testing.T) {
	for _, tt := range []struct {
		name, program, does string
		code                int
		err                 string
	}{
		{"an awk that warns", "awk", "echo warning: x >&2\nexec REAL \"$@\"", 0, "warning: x\nwarning: x\n"},
		{"a curl that warns", "curl", "echo curl: /lib/libcurl.so.4: no version information available >&2\nexec REAL \"$@\"", 0, ""},
		{"a curl that is killed", "curl", `kill -9 $$`, 1, "gave up after 0 of 4 requests\n"},
		{"an mktemp that does not take TMPDIR", "mktemp", "unset TMPDIR; exec REAL \"$@\"", 0, ""},
	} {
		path, err := exec.LookPath(tt.program)
		if err != nil {
			t.Skip(err)
		}
		dir := t.TempDir()
		write(t, filepath.Join(dir, tt.program), "#!/bin/sh\n"+strings.ReplaceAll(tt.does, "REAL", path))
		r := run{args: "4", answers: both, host: "localhost", env: []string{"PATH=" + dir + ":" + tools(t, scriptTools...)}}
		if got := r.start(t, kubectl{}); got.code != tt.code || !strings.HasSuffix(got.stderr, tt.err) {
			t.Errorf("%s: got\n%v\nwant exit %d and\n%s", tt.name, got, tt.code, tt.err)
		}
	}
}

// A watch shows what is so since the last change of the traffic.
func TestScriptWatches(t *testing.T) {
	const pinned = "v1,,50 v2,,50"
	for _, tt := range []struct {
		name     string
		then     ksvc
		out, err string
	}{
		{"traffic that changes", ksvc{spec: "v2,,100", edited: 2}, "v2                 100%    100.0% …  ##########\n…", edited},
		{"a rollout", ksvc{spec: "@latest,,100", status: "v2,,82 v1,,18", ready: "Unknown RolloutInProgress x"}, "v2                  82%    100.0% …  ##########\nv1                  18%      0.0%      0\n", moving},
		{"an edit that is not in force yet", ksvc{spec: pinned, edited: 2, seen: 1}, "v1                  50%      0.0%      0\nv2                  50%    100.0% …  ##########\n", edited},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c := serving(ksvc{spec: pinned}, tt.then)
			gateway := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				revision := "v1"
				if c.asked.Load() > 1 { // the change has been told
					revision = "v2"
				}
				from(revision).ServeHTTP(w, r)
			}))
			defer gateway.Close()
			r := run{args: "--rate 20 120", cluster: c, answers: both, env: []string{"GATEWAY=" + gateway.Listener.Addr().String()}}
			if got := r.start(t, stub(t)); got.code != 1 || !like("REVISION  TAG  EXPECTED  OBSERVED  COUNT\n"+tt.out, got.stdout) || got.stderr != tt.err {
				t.Errorf("got\n%v\nwant\n%s%s", got, tt.out, tt.err)
			}
		})
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
