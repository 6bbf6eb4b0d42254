package test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// stubCurl answers as many requests as STUB_ANSWERS says, "v1:70 v2:30",
// without a network: for thousands of answers in no time.
func stubCurl(args []string) int {
	format := args[slices.IndexFunc(args, func(a string) bool { return a == "--write-out" || a == "-qsw" })+1]
	record := strings.NewReplacer(`\n`, "\n", "%{stderr}", "", "%{exitcode}", "0", "%{http_code}", "200",
		"%{time_connect}", "0.001", "%{time_total}", "0.002", "%{errormsg}", "").Replace(format)
	if args[0] == "-qsw" {
		fmt.Print(record)
	}
	for _, part := range strings.Fields(os.Getenv("STUB_ANSWERS")) {
		revision, n, _ := strings.Cut(part, ":")
		count, _ := strconv.Atoi(n)
		answer := "HTTP/1.1 200 OK\r\nX-Revision: stock-service-example-" + revision + "\r\n\r\n" + record
		io.WriteString(os.Stdout, strings.Repeat(answer, count))
	}
	return 0
}

// answers is a stand-in gateway: it gives one of its answers after the other,
// over and over.
type answers []answer

type answer struct {
	status         int
	revision, text string
	header         string // more of them, each as "Name: value" and a newline
	wait           time.Duration
	raw            string // the whole of it, instead of all that
	way            way
}

// way is how an answer goes wrong.
type way int

const (
	whole     way = iota
	noAnswer      // the connection is closed without one
	truncated     // closed in the middle of the body
	reset         // reset in the middle of the body
	stalled       // left open in the middle of the body
	silent        // left open without an answer
)

// from is an answer of the revision stock-service-example-x.
func from(x string) answer {
	return answer{status: 200, revision: "stock-service-example-" + x, text: "Welcome to the " + x + " app! \n"}
}

func (a answer) with(status int) answer       { a.status = status; return a }
func (a answer) going(w way) answer           { a.way = w; return a }
func (a answer) saying(header string) answer  { a.header = header; return a }
func (a answer) after(d time.Duration) answer { a.wait = d; return a }

func times(n int, all ...answer) answers {
	var repeated answers
	for range n {
		repeated = append(repeated, all...)
	}
	return repeated
}

func (a answers) ServeHTTP(w http.ResponseWriter, r *http.Request, n int) {
	if len(a) == 0 {
		panic(http.ErrAbortHandler)
	}
	answer := a[n%len(a)]
	time.Sleep(answer.wait)
	if answer.way == silent {
		hang(r)
	}
	if answer.way == noAnswer {
		panic(http.ErrAbortHandler)
	}
	if answer.raw != "" {
		if conn, _, err := http.NewResponseController(w).Hijack(); err == nil {
			io.WriteString(conn, answer.raw)
			conn.Close()
		}
		return
	}
	if answer.revision != "" {
		w.Header().Set("X-Revision", answer.revision)
	}
	if name, value, ok := strings.Cut(answer.header, ": "); ok {
		w.Header().Set(name, value)
	}
	if answer.way != whole {
		w.Header().Set("Content-Length", fmt.Sprint(len(answer.text)+100))
	}
	w.WriteHeader(answer.status)
	io.WriteString(w, answer.text)
	if answer.way == whole {
		return
	}
	http.NewResponseController(w).Flush()
	switch answer.way {
	case stalled:
		hang(r)
	case reset:
		if conn, _, err := http.NewResponseController(w).Hijack(); err == nil {
			conn.(*net.TCPConn).SetLinger(0)
			conn.Close()
		}
	}
	panic(http.ErrAbortHandler)
}

// hang holds a request until its client leaves.
func hang(r *http.Request) {
	select {
	case <-r.Context().Done():
	case <-time.After(time.Minute):
	}
	panic(http.ErrAbortHandler)
}

// gateway serves the answers to requests for the path / of host.
func (a answers) gateway(t *testing.T, host string) *httptest.Server {
	return httptest.NewServer(a.handler(t, host, "/"))
}

func (a answers) handler(t *testing.T, host, path string) http.Handler {
	var n atomic.Int64
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Host != host || r.URL.RequestURI() != path || r.Method != "GET" {
			t.Errorf("the gateway got %s %s of host %s, want GET %s of %s", r.Method, r.RequestURI, r.Host, path, host)
		}
		a.ServeHTTP(w, r, int(n.Add(1)-1))
	})
}
