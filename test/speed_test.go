package test

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// smallest is the least net/http program that answers as the index does; with
// HEADERS it also sends the headers that the index sends.
const smallest = `package main

import (
	"io"
	"net/http"
	"os"
)

func main() {
	handler := func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, "Welcome to the v1 app! \n")
	}
	if os.Getenv("HEADERS") != "" {
		handler = func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "text/plain; charset=utf-8")
			w.Header().Set("Vary", "Accept")
			w.Header().Set("X-Content-Type-Options", "nosniff")
			w.Header().Set("X-Revision", "v1")
			io.WriteString(w, "Welcome to the v1 app! \n")
		}
	}
	http.ListenAndServe(":"+os.Getenv("PORT"), http.HandlerFunc(handler))
}
`

// BenchmarkSpeed measures the program beside the smallest net/http program, in
// turns, each on one core, with wrk on another. A round takes about 12 s:
//
//	go test -run '^$' -bench Speed -benchtime 15x ./test
//
// It reports the medians of the rounds' ratios and of the most memory used.
func BenchmarkSpeed(b *testing.B) {
	for _, tool := range []string{"wrk", "taskset"} {
		if _, err := exec.LookPath(tool); err != nil {
			b.Skipf("%s is not installed", tool)
		}
	}
	if runtime.NumCPU() < 2 {
		b.Skip("it takes two cores")
	}
	provider := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, "201.36")
	}))
	defer provider.Close()
	source := filepath.Join(b.TempDir(), "smallest.go")
	if err := os.WriteFile(source, []byte(smallest), 0o600); err != nil {
		b.Fatal(err)
	}
	small, ours := build(b, source), build(b, ".")
	quotes := []string{"RESOURCE=v1", "QUOTE_TTL=1h", "QUOTE_URL=" + provider.URL + "/{ticker}"}

	var indexes, sames, prices, firsts, memory []float64
	for b.Loop() {
		var ourFirst, smallFirst []float64
		for range 9 {
			smallFirst = append(smallFirst, firstAnswer(b, small))
			ourFirst = append(ourFirst, firstAnswer(b, ours, quotes...))
		}
		firsts = append(firsts, median(ourFirst)/median(smallFirst))

		bare, same, o := serveOnOneCore(b, small), serveOnOneCore(b, small, "HEADERS=yes"), serveOnOneCore(b, ours, quotes...)
		indexRate, priceRate := o.requestRate(b, "/"), o.requestRate(b, "/stock/AAPL")
		indexes = append(indexes, indexRate/bare.requestRate(b, "/"))
		sames = append(sames, indexRate/same.requestRate(b, "/"))
		prices = append(prices, priceRate/indexRate)
		memory = append(memory, o.peakMemory(b))
		for _, server := range []*program{bare, same, o} {
			server.end()
		}
	}
	b.ReportMetric(0, "ns/op") // a round's length says nothing
	b.ReportMetric(median(indexes), "index/smallest")
	b.ReportMetric(median(sames), "index/same-headers")
	b.ReportMetric(median(prices), "price/index")
	b.ReportMetric(median(firsts), "first/smallest")
	b.ReportMetric(median(memory), "MB-peak")
}

func median(values []float64) float64 {
	slices.Sort(values)
	return values[len(values)/2]
}

// build builds a program the Dockerfile's way.
func build(b *testing.B, source string) string {
	b.Helper()
	path := filepath.Join(b.TempDir(), "program")
	cmd := exec.Command("go", "build", "-trimpath", "-tags", "nethttpomithttp2", "-ldflags", "-s -w", "-o", path, source)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		b.Fatalf("go build: %v\n%s", err, out)
	}
	return path
}

// program is one that runs, under load.
type program struct {
	cmd *exec.Cmd
	url string
}

func (s *program) end() {
	s.cmd.Process.Kill()
	s.cmd.Wait()
}

// launch starts a program on the first core; it may not answer yet.
func launch(b *testing.B, path string, env ...string) *program {
	b.Helper()
	free, err := net.Listen("tcp", "localhost:0")
	if err != nil {
		b.Fatal(err)
	}
	port := strconv.Itoa(free.Addr().(*net.TCPAddr).Port)
	free.Close()
	s := &program{cmd: exec.Command("taskset", "-c", "0", path), url: "http://localhost:" + port}
	s.cmd.Env = append(append(os.Environ(), "PORT="+port), env...)
	if err := s.cmd.Start(); err != nil {
		b.Fatal(err)
	}
	return s
}

// awaitAnswer asks until the index answers.
func (s *program) awaitAnswer(b *testing.B) {
	b.Helper()
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(50 * time.Microsecond) {
		resp, err := http.Get(s.url)
		if err == nil {
			resp.Body.Close()
			return
		}
	}
	b.Fatalf("%s does not answer", s.cmd.Path)
}

// firstAnswer is the time from a program's exec to its first answer, in
// seconds.
func firstAnswer(b *testing.B, path string, env ...string) float64 {
	b.Helper()
	begin := time.Now()
	s := launch(b, path, env...)
	defer s.end()
	s.awaitAnswer(b)
	return time.Since(begin).Seconds()
}

func serveOnOneCore(b *testing.B, path string, env ...string) *program {
	b.Helper()
	s := launch(b, path, env...)
	s.awaitAnswer(b)
	return s
}

var requestsPerSecond = regexp.MustCompile(`Requests/sec:\s+([0-9.]+)`)

// requestRate is what wrk measures from the second core, in requests per
// second.
func (s *program) requestRate(b *testing.B, path string) float64 {
	b.Helper()
	out, err := exec.Command("taskset", "-c", "1", "wrk", "-t1", "-c64", "-d2s", s.url+path).Output()
	m := requestsPerSecond.FindSubmatch(out)
	if err != nil || m == nil || strings.Contains(string(out), "Non-2xx") {
		b.Fatalf("wrk: %v\n%s", err, out)
	}
	rate, _ := strconv.ParseFloat(string(m[1]), 64)
	return rate
}

var peakRSS = regexp.MustCompile(`VmHWM:\s+(\d+) kB`)

// peakMemory is the most resident memory that the program has had, in MB.
func (s *program) peakMemory(b *testing.B) float64 {
	b.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.cmd.Process.Pid))
	m := peakRSS.FindSubmatch(status)
	if err != nil || m == nil {
		b.Fatalf("no peak memory in /proc: %v", err)
	}
	kB, _ := strconv.ParseFloat(string(m[1]), 64)
	return kB * 1024 / 1e6
}
