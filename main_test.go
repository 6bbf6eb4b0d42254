package main

import (
	"context"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/knative-sample/rest-api-go/internal/config"
	"github.com/knative-sample/rest-api-go/internal/quote"
	"github.com/knative-sample/rest-api-go/internal/rehearsal"
	"github.com/knative-sample/rest-api-go/internal/stock"
)

// TestMain lets this test program be the service in a process of its own.
func TestMain(m *testing.M) {
	if os.Getenv("RUN_MAIN") != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

const serving = `msg=serving url=(http://localhost:\d+)`

func command(env []string, args ...string) *exec.Cmd {
	cmd := exec.Command(os.Args[0], args...)
	cmd.Env = append(append(os.Environ(), "RUN_MAIN=yes", "PORT=0"), env...)
	return cmd
}

func TestExitStatus(t *testing.T) {
	taken, err := net.Listen("tcp", ":0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	port := fmt.Sprint(taken.Addr().(*net.TCPAddr).Port)
	for _, test := range []struct {
		env, args []string
		code      int
		says      string // begins so
	}{
		{[]string{"PORT=http"}, nil, 2, `rest-api-go: PORT: "http" is not a port from 0 to 65535` + "\n"},
		{nil, []string{"serve"}, 2, `rest-api-go: unexpected argument "serve": rest-api-go takes no arguments; `},
		{[]string{"PORT=" + port}, nil, 1, "rest-api-go: PORT: listen tcp :" + port + ": bind: address already in use\n"},
		{nil, []string{"-h"}, 0, "rest-api-go serves stock prices"},
	} {
		cmd := command(test.env, test.args...)
		out, _ := cmd.CombinedOutput()
		if code := cmd.ProcessState.ExitCode(); code != test.code || !strings.HasPrefix(string(out), test.says) {
			t.Errorf("%q %q: exit status %d\n got %swant %s", test.env, test.args, code, out, test.says)
		}
	}
}

// The first signal lets the request in flight finish, and the second does not.
func TestSignals(t *testing.T) {
	for _, test := range []struct {
		name, ends, answer string
		first, second      os.Signal
	}{
		{"once", "exit status 0", "200 v1-1 v1 price for ticker AAPL is 201.36\n", syscall.SIGTERM, nil},
		{"twice", "signal: terminated", "no answer", os.Interrupt, syscall.SIGTERM},
	} {
		t.Run(test.name, func(t *testing.T) {
			asked, held := make(chan bool, 9), make(chan bool)
			provider := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				asked <- true
				select {
				case <-held:
					io.WriteString(w, "201.36")
				case <-r.Context().Done():
				}
			}))
			defer provider.Close()
			logs := newLog(t)
			cmd := command([]string{"RESOURCE=v1", "K_REVISION=v1-1", "QUOTE_URL=" + provider.URL + "/{ticker}"})
			cmd.Stderr = logs
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			defer cmd.Process.Kill()
			url := await(t, logs, serving)
			answered := make(chan string)
			go func() { answered <- get(url + "/stock/AAPL") }()
			<-asked
			cmd.Process.Signal(test.first)
			await(t, logs, "msg=(draining) limit=10s")
			if got := get(url); got != "no answer" {
				t.Errorf("while it drains, a new request got %q", got)
			}
			if test.second != nil {
				cmd.Process.Signal(test.second)
			} else {
				close(held)
			}
			if got := <-answered; got != test.answer {
				t.Errorf("the request in flight got %q, want %q", got, test.answer)
			}
			cmd.Wait()
			if got := cmd.ProcessState.String(); got != test.ends {
				t.Errorf("it ended by %s, want %s", got, test.ends)
			}
			if stopped := strings.Contains(read(logs), "msg=stopped\n"); stopped != (test.second == nil) {
				t.Errorf("the log is %s", read(logs))
			}
		})
	}
}

// What the settings do from the environment to an answer.
func TestRun(t *testing.T) {
	dead := httptest.NewServer(http.NotFoundHandler())
	dead.Close()
	gone := strings.TrimPrefix(dead.URL, "http://")
	for _, test := range []struct {
		name, env, path, answer string
		log                     []string
	}{
		{"nothing set", "", "/", "200 NOT SPECIFIED Welcome to the NOT SPECIFIED app! \n",
			[]string{`level=INFO msg=serving url=http://localhost:`, ` revision="NOT SPECIFIED" prices="sample of 2025-05-22"`}},
		{"a rehearsal", "RESOURCE=x SPLIT=v1=0,v2=100", "/v2/aapl",
			"200 stock-service-example-v2 v2 price for ticker AAPL is 201.36\n", []string{`revision="v1=0,v2=100"`}},
		{"a provider out of reach", "RESOURCE=v1 QUOTE_URL=" + dead.URL + "/{ticker}", "/v1/AAPL",
			"502 v1 v1 price for ticker AAPL is not available: the quote provider cannot be reached\n",
			[]string{`prices="upstream ` + gone + `"`, "cannot be reached: dial tcp " + gone}},
	} {
		t.Run(test.name, func(t *testing.T) {
			env := map[string]string{"PORT": "0"}
			for _, setting := range strings.Fields(test.env) {
				name, value, _ := strings.Cut(setting, "=")
				env[name] = value
			}
			ctx, stop := context.WithCancel(t.Context())
			logs, ended := newLog(t), make(chan error)
			go func() { ended <- run(ctx, nil, func(name string) string { return env[name] }, nil, logs) }()
			if got := get(await(t, logs, serving) + test.path); got != test.answer {
				t.Errorf("got %q, want %q", got, test.answer)
			}
			log.Print("what net/http writes to the standard log")
			stop()
			if err := <-ended; err != nil {
				t.Error(err)
			}
			for _, text := range test.log {
				if !strings.Contains(read(logs), text) {
					t.Errorf("no %q in the log:\n%s", text, read(logs))
				}
			}
			if strings.Contains(read(logs), "net/http") {
				t.Errorf("the standard log is shown, which may have a key:\n%s", read(logs))
			}
		})
	}
}

// The newest revision is the bad one: the last of several, and after one alone
// those that are made later.
func TestRehearsedFault(t *testing.T) {
	for _, test := range []struct{ split, put, want string }{ // statuses at v1, v2, v3, v4 and latest
		{"v1=100,v2=0,v3=0", "v1=0,v2=0,v3=0,v4=100", "200 200 500 200 200"},
		{"v1=100", "v1=0,v2=100,v3=0", "200 500 500 404 500"},
	} {
		split, _ := rehearsal.ParseSplit(test.split)
		cfg := config.Config{Split: split, Revision: stock.Revision{Fault: stock.Fault{Rate: 1}}}
		handler := newHandler(cfg, quote.Sample{})
		handler.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("PUT", "/rehearsal", strings.NewReader(test.put)))
		var got []string
		for _, tag := range []string{"v1", "v2", "v3", "v4", "latest"} {
			w := httptest.NewRecorder()
			handler.ServeHTTP(w, httptest.NewRequest("GET", "http://"+tag+".localhost/stock/AAPL", nil))
			got = append(got, fmt.Sprint(w.Code))
		}
		if strings.Join(got, " ") != test.want {
			t.Errorf("SPLIT=%s, then %s: %s, want %s", test.split, test.put, got, test.want)
		}
	}
}

const ask = "GET / HTTP/1.1\r\nHost: x\r\n"

// What the server bounds, on a clock that runs only while all wait.
func TestLimits(t *testing.T) {
	bad := stock.New(stock.Revision{Resource: "v1", Fault: stock.Fault{Latency: 5 * time.Minute}}, quote.Sample{})
	reads := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.Copy(w, r.Body) })
	for _, test := range []struct {
		name, request string
		handler       http.Handler
		pause         time.Duration // before the client reads its answer
		status        string
		closed        time.Duration // when the connection is: 2 minutes after an answer, if nothing is wrong
	}{
		{"a request has 10 s to arrive", ask + "Content-Length: 5\r\n\r\nv1", reads, 0, "200 OK", 10 * time.Second},
		{"an answer has a minute to be read", ask + "\r\n", http.NotFoundHandler(), 59 * time.Second, "404 Not Found", 179 * time.Second},
		{"and no more", ask + "\r\n", http.NotFoundHandler(), 61 * time.Second, "", 61 * time.Second},
		{"a wait on purpose does not count", ask + "\r\n", bad, 359 * time.Second, "200 OK", 479 * time.Second},
		{"64 KiB of headers", ask + "X: " + strings.Repeat("x", 64<<10) + "\r\n\r\n", http.NotFoundHandler(), 0, "404 Not Found", 2 * time.Minute},
		{"70 KiB of headers", ask + "X: " + strings.Repeat("x", 70<<10) + "\r\n\r\n", bad, 0, "431 Request Header Fields Too Large", 0},
		{"OPTIONS *", "OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n", http.NotFoundHandler(), 0, "404 Not Found", 2 * time.Minute},
	} {
		synctest.Test(t, func(t *testing.T) {
			conn, _ := start(t, test.handler)
			begin := time.Now()
			go io.WriteString(conn, test.request)
			time.Sleep(test.pause)
			answer, _ := io.ReadAll(conn)
			closed := time.Since(begin).Truncate(time.Second)
			line, _, _ := strings.Cut(string(answer), "\r\n")
			if strings.TrimPrefix(line, "HTTP/1.1 ") != test.status || closed != test.closed {
				t.Errorf("%s: %.40q, closed after %v, want %s after %v", test.name, answer, closed, test.status, test.closed)
			}
		})
	}
}

func TestDrainHasLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conn, stop := start(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { <-r.Context().Done() }))
		io.WriteString(conn, ask+"\r\n")
		synctest.Wait()
		begin := time.Now()
		if err := stop(); err != nil || time.Since(begin) != 10*time.Second {
			t.Errorf("%v after %v, want 10s", err, time.Since(begin))
		}
		io.ReadAll(conn) // It would hang, were the connection left open.
	})
}

// start serves, and returns a connection, and what stops the server.
func start(t *testing.T, handler http.Handler) (net.Conn, func() error) {
	ctx, cancel := context.WithCancel(t.Context())
	conns, ended := make(pipes), make(chan error)
	go func() { ended <- serve(ctx, conns, handler, slog.New(slog.DiscardHandler)) }()
	conn := conns.dial()
	stop := sync.OnceValue(func() error { cancel(); return <-ended })
	t.Cleanup(func() { conn.Close(); stop() })
	return conn, stop
}

// pipes is a listener whose connections are pipes, which synctest's clock governs.
type pipes chan net.Conn

func (p pipes) dial() net.Conn {
	client, server := net.Pipe()
	p <- server
	return client
}

func (p pipes) Accept() (net.Conn, error) {
	if conn, ok := <-p; ok {
		return conn, nil
	}
	return nil, net.ErrClosed
}

func (p pipes) Close() error   { close(p); return nil }
func (p pipes) Addr() net.Addr { return &net.TCPAddr{} }

// get returns "status revision body", or "no answer".
func get(url string) string {
	once := http.Client{Transport: new(http.Transport)} // on a connection of its own
	resp, err := once.Get(url)
	if err != nil {
		return "no answer"
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return err.Error()
	}
	return fmt.Sprintf("%d %s %s", resp.StatusCode, resp.Header.Get("X-Revision"), body)
}

// newLog is a file for a log that is read while it is written.
func newLog(t *testing.T) *os.File {
	t.Helper()
	file, err := os.Create(filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	return file
}

// await returns what the pattern's group finds in the log, once it does.
func await(t *testing.T, log *os.File, pattern string) string {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		if m := regexp.MustCompile(pattern).FindStringSubmatch(read(log)); m != nil {
			return m[1]
		}
	}
	t.Fatalf("no %s in the log:\n%s", pattern, read(log))
	return ""
}

func read(file *os.File) string {
	text, _ := os.ReadFile(file.Name())
	return string(text)
}
