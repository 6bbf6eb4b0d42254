package test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
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
			var seen atomic.Int64
			var all answers = times(10, from("v1"), from("v2"))
			inner := append(all, from("v1").going(silent)).handler(t, "localhost", "/")
			gateway := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				seen.Add(1)
				inner.ServeHTTP(w, r)
			}))
			defer gateway.Close()
			address := gateway.Listener.Addr().String()
			tmp := t.TempDir()
			cmd := command(t, tools(t, scriptTools...), "./run-test.sh", []string{"50"}, []string{"DOMAIN_NAME=localhost", "GATEWAY=" + address, "TMPDIR=" + tmp})
			cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
			var stdout, stderr strings.Builder
			cmd.Stdout, cmd.Stderr = &stdout, &stderr
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			for seen.Load() < 21 {
				time.Sleep(10 * time.Millisecond)
			}
			time.Sleep(100 * time.Millisecond)
			start, to := time.Now(), cmd.Process.Pid
			if sig == syscall.SIGINT {
				to = -to // as a terminal sends it
			}
			syscall.Kill(to, sig)
			time.Sleep(2 * time.Millisecond)
			syscall.Kill(to, sig) // as timeout(1) does
			cmd.Wait()
			if took := time.Since(start); took > time.Second {
				t.Errorf("took %v", took)
			}
			got := result{cmd.ProcessState.ExitCode(), stdout.String(), stderr.String()}
			want := result{code, "50 requests to http://localhost/ through " + address + `

REVISION                  OBSERVED  COUNT
stock-service-example-v1     50.0%     10  #####
stock-service-example-v2     50.0%     10  #####
`, "run-test.sh: interrupted after 20 of 50 requests\n"}
			if got != want {
				t.Errorf("got\n%v\nwant\n%v", got, want)
			}
			noneLeft(t, address)
			if left, _ := os.ReadDir(tmp); len(left) > 0 {
				t.Errorf("%v is left", left)
			}
		})
	}
}

// A signal ends the script and its kubectl, before the requests and after them.
func TestScriptIsInterruptedWhileItAsks(t *testing.T) {
	for sig, code := range map[syscall.Signal]int{syscall.SIGINT: 130, syscall.SIGTERM: 143} {
		for hangs, stderr := range map[int]string{1: "", 2: "run-test.sh: the Service was edited meanwhile, or kubectl no longer gets it: the shares are not judged\n"} {
			t.Run(fmt.Sprint(sig, " at question ", hangs), func(t *testing.T) {
				skipIfIgnored(t, sig)
				gateway := answers{from("v1")}.gateway(t, routeHost)
				defer gateway.Close()
				asked, left := make(chan struct{}, 1), make(chan struct{}, 1)
				cluster := &cluster{states: []object{readyService(allV1...)}}
				gets := 0
				server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					if strings.HasSuffix(r.URL.Path, "/services/stock-service-example") {
						gets++
					}
					if gets < hangs {
						cluster.ServeHTTP(w, r)
						return
					}
					asked <- struct{}{}
					<-r.Context().Done()
					left <- struct{}{}
				}))
				defer server.Close()
				path := tools(t, scriptTools...)
				link(t, self(t), filepath.Join(path, "kubectl"))
				cmd := command(t, path, "./run-test.sh", []string{"2"}, []string{"STUB_SERVER=" + server.URL, "GATEWAY=" + gateway.Listener.Addr().String()})
				var out strings.Builder
				cmd.Stderr = &out
				if err := cmd.Start(); err != nil {
					t.Fatal(err)
				}
				<-asked
				start := time.Now()
				cmd.Process.Signal(sig)
				cmd.Wait()
				if took := time.Since(start); took > time.Second {
					t.Errorf("took %v", took)
				}
				said := strings.ReplaceAll(out.String(), "Warning: this is no reason to fail\n", "")
				if got := cmd.ProcessState.ExitCode(); got != code || said != stderr {
					t.Errorf("exit status %d, want %d:\n%s", got, code, said)
				}
				select {
				case <-left:
				case <-time.After(5 * time.Second):
					t.Error("kubectl still asks")
				}
			})
		}
	}
}

// skipIfIgnored skips what a shell cannot trap: a signal that is ignored when
// it starts, as nohup and & have it.
func skipIfIgnored(t *testing.T, sig os.Signal) {
	if signal.Ignored(sig) {
		t.Skip(sig, " is ignored here")
	}
}
