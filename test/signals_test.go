package test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// A signal ends the requests; what was answered is shown all the same.
func TestScriptIsInterrupted(t *testing.T) {
	for sig, code := range map[syscall.Signal]int{syscall.SIGINT: 130, syscall.SIGTERM: 143, syscall.SIGHUP: 129} {
		t.Run(sig.String(), func(t *testing.T) {
			skipIfIgnored(t, sig)
			inner := append(times(10, from("v1"), from("v2")), from("v1").going(silent)).handler(t, "localhost", "/")
			answered := make(chan struct{}, 50)
			gateway := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				answered <- struct{}{}
				inner.ServeHTTP(w, r)
			}))
			defer gateway.Close()
			address := gateway.Listener.Addr().String()
			tmp := t.TempDir()
			cmd := command(t, tools(t, scriptTools...), "./run-test.sh", []string{"50"}, []string{"DOMAIN_NAME=localhost", "GATEWAY=" + address, "TMPDIR=" + tmp})
			cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
			got := signalled(t, cmd, func() {
				for range 21 { // curl asks for the last when it has written its record of the others
					<-answered
				}
			}, sig)
			want := result{code, "50 requests to http://localhost/ through " + address + `

REVISION  OBSERVED  COUNT
v1           50.0%     10  #####
v2           50.0%     10  #####
`, "run-test.sh: interrupted after 20 of 50 requests\n"}
			if got != want {
				t.Errorf("got\n%v\nwant\n%v", got, want)
			}
			noneLeft(t, tmp)
		})
	}
}

// A signal ends the script and its kubectl, before the requests, while they are
// sent, and after them.
func TestScriptIsInterruptedWhileItAsks(t *testing.T) {
	const pending, all = "run-test.sh: interrupted after … of 100 requests\n", "run-test.sh: interrupted after 2 of 2 requests\n"
	tests := []struct {
		name   string
		n      string
		hangs  int64 // the question that is not answered
		stderr string
	}{
		{"before", "2", 1, ""},
		{"while", "100", 2, pending},
		{"after", "2", 2, all},
	}
	for _, tt := range tests {
		for sig, code := range map[syscall.Signal]int{syscall.SIGINT: 130, syscall.SIGTERM: 143, syscall.SIGHUP: 129} {
			t.Run(fmt.Sprint(tt.name, " ", sig), func(t *testing.T) {
				t.Parallel()
				skipIfIgnored(t, sig)
				gateway := answers{from("v1")}.gateway(t, routeHost)
				defer gateway.Close()
				cluster := &cluster{states: []object{readyService(allV1...)}}
				var gets atomic.Int64
				asked, over := make(chan struct{}), make(chan struct{})
				server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					if strings.HasSuffix(r.URL.Path, "/services/stock-service-example") && gets.Add(1) == tt.hangs {
						close(asked)
						select {
						case <-r.Context().Done():
						case <-over:
						}
						return
					}
					cluster.ServeHTTP(w, r)
				}))
				defer server.Close()
				defer close(over)
				path, tmp := tools(t, scriptTools...), t.TempDir()
				link(t, self(t), filepath.Join(path, "kubectl"))
				env := []string{"STUB_SERVER=" + server.URL, "GATEWAY=" + gateway.Listener.Addr().String(), "TMPDIR=" + tmp}
				if tt.n == "100" {
					env = append(env, "RATE=10")
				}
				cmd := command(t, path, "./run-test.sh", []string{tt.n}, env)
				cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
				got := signalled(t, cmd, func() { <-asked }, sig)
				if got.code != code || !like(tt.stderr, got.stderr) {
					t.Errorf("got\n%v\nwant exit %d and on standard error\n%s", got, code, tt.stderr)
				}
				noneLeft(t, tmp)
			})
		}
	}
}

// signalled runs a command and sends it, once it is ready, a signal twice, as
// timeout(1) does: SIGINT to its group, as a terminal does.
func signalled(t *testing.T, cmd *exec.Cmd, ready func(), sig syscall.Signal) result {
	t.Helper()
	var stdout, stderr strings.Builder
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ready()
	start, to := time.Now(), cmd.Process.Pid
	if sig == syscall.SIGINT {
		to = -to
	}
	syscall.Kill(to, sig)
	syscall.Kill(to, sig)
	cmd.Wait()
	if took := time.Since(start); took > 2*time.Second {
		t.Errorf("it took %v to end", took)
	}
	return result{cmd.ProcessState.ExitCode(), stdout.String(), stderr.String()}
}

// skipIfIgnored skips what a shell cannot trap: a signal that is ignored when
// it starts, as nohup and & have it.
func skipIfIgnored(t *testing.T, sig os.Signal) {
	if signal.Ignored(sig) {
		t.Skip(sig, " is ignored here")
	}
}
