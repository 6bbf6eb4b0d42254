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
	defer cmd.Wait()
	defer cmd.Process.Kill()
	resp, err := http.Get(url)
	for ; err != nil; resp, err = http.Get(url) {
	}
	resp.Body.Close()
	first = time.Since(begin).Seconds()
	before := sum(b, cmd, "task/*/schedstat", `^(\d+)`)
	out, err := exec.Command("wrk", "-t1", "-c64", "-d1s", url).Output()
	m := regexp.MustCompile(`(\d+) requests in`).FindSubmatch(out)
	if err != nil || m == nil {
		b.Fatalf("wrk: %v\n%s", err, out)
	}
	requests, _ := strconv.ParseFloat(string(m[1]), 64)
	cpu = (sum(b, cmd, "task/*/schedstat", `^(\d+)`) - before) / requests
	return cpu, first, sum(b, cmd, "status", `VmHWM:\s+(\d+) kB`) * 1024 / 1e6
}

// sum adds up the numbers that pattern finds in the process's files.
func sum(b *testing.B, cmd *exec.Cmd, files, pattern string) (total float64) {
	paths, _ := filepath.Glob(fmt.Sprintf("/proc/%d/%s", cmd.Process.Pid, files))
	for _, path := range paths {
		text, _ := os.ReadFile(path)
		if m := regexp.MustCompile(pattern).FindSubmatch(text); m != nil {
			number, _ := strconv.ParseFloat(string(m[1]), 64)
			total += number
		}
	}
	return total
}
