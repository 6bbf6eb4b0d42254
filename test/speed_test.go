package test

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"testing"
	"time"
)

// smallest is the least net/http program that sends what the index sends.
const smallest = `package main

import ("io"; "net/http"; "os")

func main() {
	http.ListenAndServe(":"+os.Getenv("PORT"), http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.Header().Set("Vary", "Accept")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		w.Header().Set("X-Revision", "v1")
		io.WriteString(w, "Welcome to the v1 app! \n")
	}))
}
`

// BenchmarkSpeed measures the program beside the smallest net/http program, in
// turns, by what the kernel counts of their CPU time. A round takes some 3 s:
//
//	go test -run '^$' -bench Speed -benchtime 9x ./test
//
// It reports the medians of the rounds' ratios, and the most memory used.
func BenchmarkSpeed(b *testing.B) {
	if _, err := exec.LookPath("wrk"); err != nil {
		b.Skip("wrk is not installed")
	}
	source := filepath.Join(b.TempDir(), "smallest.go")
	os.WriteFile(source, []byte(smallest), 0o600)
	programs := [2]string{source + ".out", filepath.Join(b.TempDir(), "ours")}
	for i, from := range []string{source, "."} { // built the Dockerfile's way
		cmd := exec.Command("go", "build", "-trimpath", "-tags", "nethttpomithttp2", "-ldflags", "-s -w", "-o", programs[i], from)
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			b.Fatalf("go build: %v\n%s", err, out)
		}
	}
	var cpus, firsts []float64
	var memory float64
	for b.Loop() {
		cpu, first, _ := measure(b, programs[0])
		ourCPU, ourFirst, ourMemory := measure(b, programs[1])
		cpus, firsts, memory = append(cpus, ourCPU/cpu), append(firsts, ourFirst/first), max(memory, ourMemory)
	}
	median := func(values []float64) float64 { return slices.Sorted(slices.Values(values))[len(values)/2] }
	b.ReportMetric(0, "ns/op") // A round's length says nothing.
	b.ReportMetric(median(cpus), "cpu/smallest")
	b.ReportMetric(median(firsts), "first/smallest")
	b.ReportMetric(memory, "MB-peak")
}

// measure returns a program's CPU time per request, its time from exec to the
// first answer, and its most resident memory.
func measure(b *testing.B, path string) (cpu, first, memory float64) {
	free, err := net.Listen("tcp", "localhost:0")
	if err != nil {
		b.Fatal(err)
	}
	free.Close()
	url := "http://" + free.Addr().String()
	cmd := exec.Command(path)
	cmd.Env = append(os.Environ(), "RESOURCE=v1", "PORT="+fmt.Sprint(free.Addr().(*net.TCPAddr).Port))
	begin := time.Now()
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	resp, err := http.Get(url)
	for ; err != nil; resp, err = http.Get(url) {
	}
	resp.Body.Close()
	first = time.Since(begin).Seconds()
	out, err := exec.Command("wrk", "-t1", "-c64", "-d1s", url).Output()
	status, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", cmd.Process.Pid))
	cmd.Process.Kill()
	cmd.Wait()
	number := func(pattern string, text []byte) float64 {
		m := regexp.MustCompile(pattern).FindSubmatch(text)
		if m == nil {
			b.Fatalf("no %s: %v\n%s", pattern, err, text)
		}
		n, _ := strconv.ParseFloat(string(m[1]), 64)
		return n
	}
	used := cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime() // some 10 ms of it are the start
	return used.Seconds() / number(`(\d+) requests in`, out), first, number(`VmHWM:\s+(\d+) kB`, status) * 1024 / 1e6
}
