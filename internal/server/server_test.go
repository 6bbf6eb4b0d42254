package server

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
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
