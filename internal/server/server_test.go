package server

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

var unlogged = slog.New(slog.DiscardHandler)

func TestDrainHasLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		inFlight := make(chan struct{})
		handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			close(inFlight)
			<-r.Context().Done()
		})
		ctx, stop := context.WithCancel(t.Context())
		listener := newPipeListener()
		ended := make(chan error)
		go func() { ended <- Serve(ctx, listener, handler, 0, unlogged) }()
		client := listener.dial()
		defer client.Close()
		fmt.Fprint(client, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
		<-inFlight

		begin := time.Now()
		stop()
		if err := <-ended; err != nil {
			t.Errorf("serve returned %v", err)
		}
		if took := time.Since(begin); took != 10*time.Second {
			t.Errorf("it drained for %v, want 10s", took)
		}
	})
}

func TestSlowHeadersAreCutOff(t *testing.T) {
	tests := []struct {
		name, header string // sent a byte a second
		answer       string
	}{
		{"no header", "", ""},
		// net/http takes what it has for a request, and a bad one
		{"a byte a second", "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", "HTTP/1.1 400 Bad Request"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				client := serve(t, http.NotFound, 0)
				begin := time.Now()
				go func() {
					for _, b := range []byte(tt.header) {
						client.Write([]byte{b})
						time.Sleep(time.Second)
					}
				}()
				answer, _ := io.ReadAll(client)
				if took := time.Since(begin); took != 10*time.Second {
					t.Errorf("cut off after %v, want 10s", took)
				}
				if status, _, _ := strings.Cut(string(answer), "\r\n"); status != tt.answer {
					t.Errorf("answered %q, want %q", status, tt.answer)
				}
				client.Close()
				time.Sleep(time.Minute) // for the writer above
			})
		})
	}
}

// A request has 10 s to arrive, and a handler that waits on purpose may take
// longer than a client may take for its answer.
func TestWaits(t *testing.T) {
	waits := func(latency time.Duration) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			time.Sleep(latency)
			io.WriteString(w, "waited")
		}
	}
	reads := func(w http.ResponseWriter, r *http.Request) {
		_, err := io.ReadAll(r.Body)
		fmt.Fprint(w, "read: ", errors.Is(err, os.ErrDeadlineExceeded))
	}
	for _, test := range []struct {
		name, request string
		latency       time.Duration
		handler       http.HandlerFunc
		body          string
		took          time.Duration
	}{
		{"a long wait", "GET / HTTP/1.1\r\nHost: x\r\n\r\n", 5 * time.Minute, waits(5 * time.Minute), "waited", 5 * time.Minute},
		{"a body that was promised, and a long wait", "GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n", 5 * time.Minute, waits(5 * time.Minute), "waited", 5 * time.Minute},
		{"a body that was promised", "GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n", 0, waits(0), "waited", 10 * time.Second},
		{"a body that was promised and is read", "PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n", 0, reads, "read: true", 10 * time.Second},
		{"half a body", "PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nv1", 0, reads, "read: true", 10 * time.Second},
		{"a body, and none is read", "PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nv1", 0, waits(0), "waited", 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				client := serve(t, test.handler, test.latency)
				begin := time.Now()
				go io.WriteString(client, test.request)
				resp, err := http.ReadResponse(bufio.NewReader(client), nil)
				if err != nil {
					t.Fatal(err)
				}
				body, err := io.ReadAll(resp.Body)
				if took := time.Since(begin); string(body) != test.body || err != nil || took != test.took {
					t.Errorf("%q, %v, after %v, want %q after %v", body, err, took, test.body, test.took)
				}
			})
		})
	}
}

// A client has a minute for its answer, however large that is.
func TestSlowReaders(t *testing.T) {
	file := strings.Repeat("x", 4<<20)
	for _, test := range []struct {
		name    string
		pause   time.Duration // after every 64 KiB
		latency time.Duration
		whole   bool
	}{
		{"at once", 0, 0, true},
		{"for 50 s", 50 * time.Second / 64, 0, true},
		{"for longer than a minute", 70 * time.Second / 64, 0, false},
		{"nothing for an hour", time.Hour, 0, false},
		{"for 50 s, after a wait of 5 minutes", 50 * time.Second / 64, 5 * time.Minute, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ended := make(chan time.Duration, 1)
				client := serve(t, func(w http.ResponseWriter, r *http.Request) {
					time.Sleep(test.latency)
					begin := time.Now()
					http.ServeContent(w, r, "file.txt", time.Time{}, strings.NewReader(file))
					ended <- time.Since(begin)
				}, test.latency)
				go io.WriteString(client, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
				resp, err := http.ReadResponse(bufio.NewReader(client), nil)
				if err != nil {
					t.Fatal(err)
				}
				read, part := 0, make([]byte, 64<<10)
				for err == nil {
					var n int
					n, err = io.ReadFull(resp.Body, part)
					read += n
					time.Sleep(test.pause)
				}
				if whole := read == len(file); whole != test.whole {
					t.Errorf("%d of %d bytes", read, len(file))
				}
				if took := <-ended; took > time.Minute {
					t.Errorf("the handler wrote for %v", took)
				}
			})
		})
	}
}

func TestIdleConnectionLivesTwoMinutes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := serve(t, http.NotFound, 0)
		answers := bufio.NewReader(client)
		for range 3 {
			io.WriteString(client, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
			resp, err := http.ReadResponse(answers, nil)
			if err != nil {
				t.Fatal(err)
			}
			io.Copy(io.Discard, resp.Body)
			time.Sleep(2*time.Minute - time.Second)
		}
		time.Sleep(time.Second)
		if _, err := answers.ReadByte(); err != io.EOF {
			t.Errorf("after 2 minutes: %v, want %v", err, io.EOF)
		}
	})
}

// serve starts a server in a synctest bubble, and returns a connection to it.
// Both end with the test.
func serve(t *testing.T, handler http.HandlerFunc, latency time.Duration) net.Conn {
	server := newServer(handler, latency, unlogged)
	listener := newPipeListener()
	go server.Serve(listener)
	t.Cleanup(func() { server.Close() })
	client := listener.dial()
	t.Cleanup(func() { client.Close() })
	return client
}

// pipeListener accepts connections made of net.Pipe, which synctest's clock
// governs.
type pipeListener struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func newPipeListener() *pipeListener {
	return &pipeListener{conns: make(chan net.Conn), closed: make(chan struct{})}
}

func (l *pipeListener) dial() net.Conn {
	client, server := net.Pipe()
	l.conns <- server
	return client
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case conn := <-l.conns:
		return conn, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

func (l *pipeListener) Addr() net.Addr { return &net.TCPAddr{} }
