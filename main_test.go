package main

import (
	"bufio"
	"bytes"
	"encoding/pem"
	"fmt"
	"io"
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
	"time"

	"github.com/knative-sample/rest-api-go/internal/config"
	"github.com/knative-sample/rest-api-go/internal/quote"
)

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "rest-api-go")
	if err != nil {
		panic(err)
	}
	binaries = dir
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

// binaries is where tests build the program.
var binaries string

func TestRunRefuses(t *testing.T) {
	tests := []struct {
		env  string // NAME=value, or an argument
		code int
		want string
	}{
		{"PORT=http", 2, `rest-api-go: PORT: "http" is not a port from 0 to 65535`},
		{"PORT=65536", 2, `rest-api-go: PORT: "65536" is not a port from 0 to 65535`},
		{"RESOURCE=a/b", 2, `rest-api-go: RESOURCE: "a/b" has a slash: it must be a single path segment`},
		{"QUOTE_URL=ftp://example.com/{ticker}", 2, `rest-api-go: QUOTE_URL: want an http or https URL`},
		{"QUOTE_URL=https://example.com/{ticker}?token={key}", 2, `rest-api-go: QUOTE_KEY: is unset, but QUOTE_URL has {key}`},
		{"QUOTE_POINTER=price", 2, `rest-api-go: QUOTE_POINTER: a JSON pointer begins with a slash, as in /chart/result/0/price`},
		{"QUOTE_TTL=10", 2, `rest-api-go: QUOTE_TTL: "10" is not a duration such as 250ms or 2s`},
		{"LATENCY=-1s", 2, `rest-api-go: LATENCY: "-1s" is not a duration such as 250ms or 2s`},
		{"ERROR_RATE=NaN", 2, `rest-api-go: ERROR_RATE: "NaN" is not a share from 0 to 1`},
		{"SPLIT=v1=50,v2=60", 2, `rest-api-go: SPLIT: the percents add up to 110, not to 100`},
		{"serve", 2, `rest-api-go: unexpected argument "serve": rest-api-go takes no arguments; configure it with environment variables, see -h`},
	}
	for _, tt := range tests {
		t.Run(tt.env, func(t *testing.T) {
			cmd := exec.Command(binary(t))
			if strings.Contains(tt.env, "=") {
				cmd.Env = append(os.Environ(), tt.env)
			} else {
				cmd.Args = append(cmd.Args, tt.env)
			}
			out, _ := cmd.CombinedOutput()
			if code := cmd.ProcessState.ExitCode(); code != tt.code || string(out) != tt.want+"\n" {
				t.Errorf("exit status %d\n got %swant %s", code, out, tt.want)
			}
		})
	}
}

func TestPortInUse(t *testing.T) {
	taken, err := net.Listen("tcp", ":0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	port := taken.Addr().(*net.TCPAddr).Port
	cmd := exec.Command(binary(t))
	cmd.Env = append(os.Environ(), fmt.Sprintf("PORT=%d", port))
	out, _ := cmd.CombinedOutput()
	want := fmt.Sprintf("rest-api-go: PORT: listen tcp :%d: bind: address already in use\n", port)
	if code := cmd.ProcessState.ExitCode(); code != 1 || string(out) != want {
		t.Errorf("exit status %d\n got %swant %s", code, out, want)
	}
}

func TestHelp(t *testing.T) {
	for _, flag := range []string{"-h", "-help", "--help"} {
		var stdout, stderr bytes.Buffer
		if err := run(t.Context(), []string{flag}, nil, &stdout, &stderr); err != nil {
			t.Fatal(err)
		}
		for _, line := range []string{"  PORT           8080  ", "  RESOURCE       NOT SPECIFIED  ", "  QUOTE_TTL      10s  "} {
			if !strings.Contains(stdout.String(), "\n"+line) {
				t.Errorf("%s: no line begins with %q:\n%s", flag, line, &stdout)
			}
		}
		if stderr.Len() > 0 {
			t.Errorf("%s: wrote to standard error: %s", flag, &stderr)
		}
	}
}

// TestSignals stops the real binary with a request in flight.
func TestSignals(t *testing.T) {
	for _, sig := range []os.Signal{syscall.SIGTERM, os.Interrupt} {
		t.Run(sig.String(), func(t *testing.T) {
			url, asked, answer := heldProvider(t)
			p := start(t, "RESOURCE=v1", "K_REVISION=stock-service-example-v1", "QUOTE_URL="+url)
			answered := p.get("/stock/AAPL")
			<-asked
			p.cmd.Process.Signal(sig)
			p.awaitLog(t, "msg=draining")
			if conn, err := net.Dial("tcp", p.addr); err == nil {
				conn.Close()
				t.Error("it still accepts while it drains")
			}
			answer()
			if got := <-answered; got != "200 stock-service-example-v1 v1 price for ticker AAPL is 201.36\n" {
				t.Errorf("the request in flight got %q", got)
			}
			if err := p.cmd.Wait(); err != nil {
				t.Errorf("%v, want exit status 0", err)
			}
			p.awaitLog(t, "msg=stopped")
			if got := strings.Count(p.log(), "\n"); got != 3 {
				t.Errorf("%d lines of log, want start, draining and stopped:\n%s", got, p.log())
			}
		})
	}
}

func TestSecondSignalEndsAtOnce(t *testing.T) {
	url, asked, _ := heldProvider(t)
	p := start(t, "QUOTE_URL="+url)
	answered := p.get("/stock/AAPL")
	<-asked
	p.cmd.Process.Signal(syscall.SIGTERM)
	p.awaitLog(t, "msg=draining")
	p.cmd.Process.Signal(syscall.SIGTERM)
	p.cmd.Wait()
	if status := p.cmd.ProcessState.Sys().(syscall.WaitStatus); status.Signal() != syscall.SIGTERM {
		t.Errorf("%v, want ended by SIGTERM", p.cmd.ProcessState)
	}
	if got := <-answered; !strings.Contains(got, "EOF") && !strings.Contains(got, "reset") {
		t.Errorf("the request in flight got %q", got)
	}
}

// heldProvider is a quote provider that says when it is asked, and answers when
// it is told to.
func heldProvider(t *testing.T) (url string, asked <-chan struct{}, answer func()) {
	was, held := make(chan struct{}, 9), make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		was <- struct{}{}
		select {
		case <-held:
			io.WriteString(w, "201.36")
		case <-r.Context().Done():
		}
	}))
	t.Cleanup(server.Close)
	return server.URL + "/{ticker}", was, func() { close(held) }
}

func TestLatency(t *testing.T) {
	p := start(t, "RESOURCE=v1", "LATENCY=1s")
	begin := time.Now()
	if got, took := <-p.get("/"), time.Since(begin); got != "200 v1 Welcome to the v1 app! \n" || took < time.Second {
		t.Errorf("got %q after %v", got, took)
	}
}

// TestRehearsal runs what main runs, and draws by SPLIT.
func TestRehearsal(t *testing.T) {
	p := start(t, "SPLIT=v1=100,v2=0")
	p.awaitLog(t, `prices="sample of 2025-05-22"`)
	if got := <-p.get("/"); got != "200 stock-service-example-v1 Welcome to the v1 app! \n" {
		t.Errorf("/ got %q", got)
	}
	if got := <-p.get("/v1/aapl"); got != "200 stock-service-example-v1 v1 price for ticker AAPL is 201.36\n" {
		t.Errorf("/v1/aapl got %q", got)
	}
	req, _ := http.NewRequest("GET", "http://"+p.addr, nil)
	req.Host = "v2.localhost"
	if got := do(req); got != "200 stock-service-example-v2 Welcome to the v2 app! \n" {
		t.Errorf("/ of v2.localhost got %q", got)
	}
}

// TestRehearsedFault makes the new revision a bad one: of several the last, and
// of one alone those that are made later.
func TestRehearsedFault(t *testing.T) {
	for _, test := range []struct {
		split, put string
		want       map[string]int // the status at each host
	}{
		{"v1=100,v2=0,v3=0", "v1=0,v2=0,v3=0,v4=100", map[string]int{
			"v1.localhost": 200, "v2.localhost": 200, "v3.localhost": 500, "v4.localhost": 200, "latest.localhost": 200, "localhost": 200,
		}},
		{"v1=100", "v1=0,v2=100,v3=0", map[string]int{
			"v1.localhost": 200, "v2.localhost": 500, "v3.localhost": 500, "latest.localhost": 500, "localhost": 500,
		}},
		{"v1=100", "revision-v3.yaml", map[string]int{"v1.localhost": 200, "v2.localhost": 500, "v3.localhost": 500}},
	} {
		env := map[string]string{"SPLIT": test.split, "ERROR_RATE": "1"}
		cfg, err := config.Load(func(name string) string { return env[name] })
		if err != nil {
			t.Fatal(err)
		}
		handler := newHandler(cfg, quote.Sample{})
		send := func(method, host, path, body string) int {
			req := httptest.NewRequest(method, path, strings.NewReader(body))
			req.Host = host
			w := httptest.NewRecorder()
			handler.ServeHTTP(w, req)
			return w.Code
		}
		if status := send("PUT", "localhost", "/rehearsal", test.put); status != 200 {
			t.Fatalf("PUT %s: %d", test.put, status)
		}
		for host, want := range test.want {
			if status := send("GET", host, "/stock/AAPL", ""); status != want {
				t.Errorf("SPLIT=%s, then %s: %d at %s, want %d", test.split, test.put, status, host, want)
			}
		}
	}
}

// A plain revision has no rehearsal.
func TestNoRehearsal(t *testing.T) {
	p := start(t, "RESOURCE=v1")
	for method, want := range map[string]string{
		"GET": "404 v1 v1 no such path, require /, /v1/{ticker} or /stock/{ticker}\n",
		"PUT": "405 v1 v1 method PUT not allowed, require GET or HEAD\n",
	} {
		req, _ := http.NewRequest(method, "http://"+p.addr+"/rehearsal", nil)
		if got := do(req); got != want {
			t.Errorf("%s: %q, want %q", method, got, want)
		}
	}
	p = start(t, "RESOURCE=rehearsal")
	if got := <-p.get("/rehearsal"); got != "200 rehearsal rehearsal ticker not found!, require /rehearsal/{ticker}\n" {
		t.Errorf("its own path: %q", got)
	}
}

// TestKeyStaysOutOfTheLog has a provider that begins each connection with what
// it was asked for on the one before. Net/http takes that for a malformed answer,
// or now and then for an unsolicited one, which it logs itself.
func TestKeyStaysOutOfTheLog(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	var mu sync.Mutex
	target := "nothing"
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			io.WriteString(conn, target+"\r\n")
			mu.Unlock()
			go func() {
				defer conn.Close()
				request := make([]byte, 4096)
				n, _ := conn.Read(request)
				_, rest, _ := strings.Cut(string(request[:n]), " ")
				if path, _, ok := strings.Cut(rest, " "); ok {
					mu.Lock()
					target = path
					mu.Unlock()
				}
			}()
		}
	}()

	p := start(t, "RESOURCE=v1", "QUOTE_URL=http://"+listener.Addr().String()+"/{ticker}?key={key}", "QUOTE_KEY=s3cret k/y", "QUOTE_TTL=0")
	for range 300 {
		if got := <-p.get("/v1/AAPL"); !strings.HasPrefix(got, "502 v1 ") || strings.Contains(got, "s3cret") {
			t.Fatalf("got %q", got)
		}
	}
	p.awaitLog(t, `malformed HTTP response \"/AAPL?key={key}\"`)
	mu.Lock()
	defer mu.Unlock()
	if target != "/AAPL?key=s3cret%20k%2Fy" {
		t.Errorf("the provider was asked for %s", target)
	}
	for _, secret := range []string{"s3cret", "Unsolicited"} {
		if strings.Contains(p.log(), secret) {
			t.Errorf("%s is in the log:\n%.2000s", secret, p.log())
		}
	}
}

// TestProxyAndCertificates are those that net/http's own variables name.
func TestProxyAndCertificates(t *testing.T) {
	price := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, "201.36")
	})
	secure := httptest.NewTLSServer(price)
	defer secure.Close()
	file := filepath.Join(t.TempDir(), "ca.pem")
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: secure.Certificate().Raw})
	if err := os.WriteFile(file, ca, 0o600); err != nil {
		t.Fatal(err)
	}
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.Method == http.MethodConnect:
			w.WriteHeader(http.StatusForbidden)
		case r.URL.String() == "http://prices.example/AAPL":
			price(w, r)
		default:
			t.Errorf("the proxy was asked for %s", r.URL)
		}
	}))
	defer proxy.Close()

	const (
		found  = "200 v1 v1 price for ticker AAPL is 201.36\n"
		failed = "502 v1 v1 price for ticker AAPL is not available: the quote provider gave no valid answer\n"
	)
	for _, test := range []struct {
		env       []string
		want, log string
	}{
		{[]string{"QUOTE_URL=" + secure.URL + "/{ticker}", "SSL_CERT_FILE=" + file}, found, ""},
		{[]string{"QUOTE_URL=" + secure.URL + "/{ticker}"}, failed, "certificate signed by unknown authority"},
		{[]string{"QUOTE_URL=http://prices.example/{ticker}", "HTTP_PROXY=" + proxy.URL}, found, ""},
		{[]string{"QUOTE_URL=https://prices.example/{ticker}", "HTTPS_PROXY=" + proxy.URL}, failed, "the quote provider gave no valid answer: Forbidden"},
	} {
		p := start(t, append(test.env, "RESOURCE=v1", "K_REVISION=v1")...)
		if got := <-p.get("/v1/AAPL"); got != test.want {
			t.Errorf("%s: %q, want %q", test.env, got, test.want)
		}
		p.awaitLog(t, test.log)
	}
}

// Clients are told what is wrong, and the log where.
func TestProviderOutOfReach(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	gone := listener.Addr().String()
	listener.Close()
	p := start(t, "RESOURCE=v1", "QUOTE_URL=http://"+gone+"/{ticker}")
	p.awaitLog(t, `prices="upstream `+gone+`"`)
	if got, want := <-p.get("/stock/AAPL"), "502 v1 v1 price for ticker AAPL is not available: the quote provider cannot be reached\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	p.awaitLog(t, "the quote provider cannot be reached: dial tcp "+gone)
}

// binary builds the program once, the Dockerfile's way.
func binary(t testing.TB) string {
	t.Helper()
	path, err := built()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

var built = sync.OnceValues(func() (string, error) {
	path := filepath.Join(binaries, "rest-api-go")
	cmd := exec.Command("go", "build", "-trimpath", "-tags", "nethttpomithttp2", "-ldflags", "-s -w", "-o", path, ".")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build: %w\n%s", err, out)
	}
	return path, nil
})

// process is the program, serving.
type process struct {
	cmd  *exec.Cmd
	addr string

	mu   sync.Mutex
	logs strings.Builder
}

var servingAt = regexp.MustCompile(`msg=serving url=http://(localhost:\d+)`)

// start runs the program on a free port, until the test ends.
func start(t *testing.T, env ...string) *process {
	t.Helper()
	p := &process{cmd: exec.Command(binary(t))}
	p.cmd.Env = append(append(os.Environ(), "PORT=0"), env...)
	stderr, err := p.cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.cmd.Process.Kill() })
	go func() {
		for lines := bufio.NewScanner(stderr); lines.Scan(); {
			p.mu.Lock()
			fmt.Fprintln(&p.logs, lines.Text())
			p.mu.Unlock()
		}
	}()
	p.awaitLog(t, "msg=serving")
	p.addr = servingAt.FindStringSubmatch(p.log())[1]
	return p
}

func (p *process) log() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.logs.String()
}

func (p *process) awaitLog(t *testing.T, text string) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		if strings.Contains(p.log(), text) {
			return
		}
	}
	t.Fatalf("no %q in the log:\n%s", text, p.log())
}

// get sends a request, and yields what do returns.
func (p *process) get(path string) <-chan string {
	answered := make(chan string, 1)
	go func() {
		req, err := http.NewRequest("GET", "http://"+p.addr+path, nil)
		if err != nil {
			panic(err)
		}
		answered <- do(req)
	}()
	return answered
}

// do returns "status revision body", or the error.
func do(req *http.Request) string {
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		return err.Error()
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return err.Error()
	}
	return fmt.Sprintf("%d %s %s", resp.StatusCode, resp.Header.Get("X-Revision"), body)
}
