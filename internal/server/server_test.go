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
		go func() { ended <- Serve(ctx, listener, handler, unlogged) }()
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
				server := newServer(http.NotFoundHandler(), unlogged)
				listener := newPipeListener()
				go server.Serve(listener)
				defer server.Close()
				client := listener.dial()
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

// TestWaits holds a request's limits apart from its answer's: what waits long is
// answered, and a body that does not arrive is not waited for.
func TestWaits(t *testing.T) {
	waits := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		time.Sleep(30 * time.Second)
		io.WriteString(w, "waited")
	})
	reads := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, err := io.ReadAll(r.Body)
		fmt.Fprint(w, "read: ", errors.Is(err, os.ErrDeadlineExceeded))
	})
	for _, test := range []struct {
		name, request string
		handler       http.Handler
		body          string
		took          time.Duration
	}{
		{"a long wait", "GET / HTTP/1.1\r\nHost: x\r\n\r\n", waits, "waited", 30 * time.Second},
		{"no body to wait with", "GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n", waits, "waited", 30 * time.Second},
		{"no body to read", "PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n", reads, "read: true", 10 * time.Second},
		{"half a body to read", "PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nv1", reads, "read: true", 10 * time.Second},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				server := newServer(test.handler, unlogged)
				listener := newPipeListener()
				go server.Serve(listener)
				defer server.Close()
				client := listener.dial()
				defer client.Close()
				begin := time.Now()
				io.WriteString(client, test.request)
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

func TestIdleConnectionLivesTwoMinutes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := newServer(http.NotFoundHandler(), unlogged)
		listener := newPipeListener()
		go server.Serve(listener)
		defer server.Close()
		client := listener.dial()
		defer client.Close()
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

// TestClientThatReadsNothing asks for more than the connection holds.
func TestClientThatReadsNothing(t *testing.T) {
	const limit = 300 * time.Millisecond
	at, err := Listen("localhost:0")
	if err != nil {
		t.Fatal(err)
	}
	limited := at.(listener)
	if limited.writeTimeout != 5*time.Second {
		t.Errorf("the limit is %v, want 5s", limited.writeTimeout)
	}
	limited.writeTimeout = limit

	ended := make(chan time.Duration, 1)
	server := newServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/small" {
			return
		}
		if r.URL.Path != "/at-once" {
			time.Sleep(2 * limit) // a wait is not the client's
		}
		begin := time.Now()
		for range 1 << 10 {
			if _, err := w.Write(make([]byte, 64<<10)); err != nil {
				ended <- time.Since(begin)
				return
			}
		}
		ended <- 0
	}), unlogged)
	go server.Serve(limited)
	defer server.Close()

	// from the first request on, and after one that was answered just now
	for _, requests := range []string{
		"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
		"GET /small HTTP/1.1\r\nHost: x\r\n\r\nGET /small HTTP/1.1\r\nHost: x\r\n\r\nGET /at-once HTTP/1.1\r\nHost: x\r\n\r\n",
	} {
		client, err := net.Dial("tcp", at.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		io.WriteString(client, requests)
		select {
		case took := <-ended:
			if took < limit {
				t.Errorf("it was cut off after %v, want %v or more; 0 is never", took, limit)
			}
		case <-time.After(10 * time.Second):
			t.Error("it is still there")
		}
	}

	// one that reads, however late it began, has the whole answer
	reader, err := http.Get("http://" + at.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Body.Close()
	if n, err := io.Copy(io.Discard, reader.Body); n != 64<<20 || err != nil {
		t.Errorf("%d bytes, %v", n, err)
	}
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
