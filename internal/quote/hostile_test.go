package quote

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// A provider that does its worst is told from others by status, within the
// time limit, and what it repeats of the request stays with it: neither the
// key nor the URL is in an error or a log.
func TestHostileUpstreams(t *testing.T) {
	const (
		timeout = 50 * time.Millisecond
		key     = "s&cret k/y"
		escaped = "s%26cret%20k%2Fy"
		ok      = "HTTP/1.1 200 OK\r\n"
	)
	trap := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		t.Errorf("a redirect was followed to %s", r.RequestURI)
	}))
	defer trap.Close()

	var bomb bytes.Buffer
	zipped := gzip.NewWriter(&bomb)
	io.WriteString(zipped, strings.Repeat(" ", 8*maxBody)+"201.36")
	zipped.Close()

	// say answers with text, in which TARGET is the request's
	say := func(text string) func(net.Conn, string) {
		return func(conn net.Conn, target string) {
			io.WriteString(conn, strings.ReplaceAll(text, "TARGET", target))
		}
	}
	drip := func(begin, drop string) func(net.Conn, string) {
		return func(conn net.Conn, _ string) {
			_, err := io.WriteString(conn, begin)
			for err == nil {
				time.Sleep(5 * time.Millisecond)
				_, err = io.WriteString(conn, drop)
			}
		}
	}

	for _, test := range []struct {
		name       string
		serve      func(conn net.Conn, target string)
		status     int // 0 is an unknown ticker
		retryAfter string
		reason     string
		slow       bool // takes the whole timeout
		scheme     string
	}{
		{name: "404", serve: say("HTTP/1.1 404 TARGET\r\nContent-Length: 6\r\n\r\nTARGET")},

		{name: "429", serve: say("HTTP/1.1 429 TARGET\r\n\r\nTARGET"), status: 503, retryAfter: "10", reason: "the quote provider's rate limit is reached"},
		{name: "429, a while", serve: say("HTTP/1.1 429 TARGET\r\nRetry-After: 30\r\n\r\n"), status: 503, retryAfter: "30", reason: "the quote provider's rate limit is reached"},
		{name: "429, a date", serve: say("HTTP/1.1 429 TARGET\r\nRetry-After: Thu, 22 May 2025 20:00:00 GMT\r\n\r\n"), status: 503, retryAfter: "1", reason: "the quote provider's rate limit is reached"},
		{name: "429, the key", serve: say("HTTP/1.1 429 TARGET\r\nRetry-After: 30 TARGET\r\n\r\n"), status: 503, retryAfter: "10", reason: "the quote provider's rate limit is reached"},

		{name: "500", serve: say("HTTP/1.1 500 TARGET\r\n\r\nTARGET"), status: 502, reason: "the quote provider answered with status 500"},
		{name: "401", serve: say("HTTP/1.1 401 TARGET\r\nWWW-Authenticate: TARGET\r\n\r\n"), status: 502, reason: "the quote provider answered with status 401"},
		{name: "204", serve: say("HTTP/1.1 204 TARGET\r\n\r\n"), status: 502, reason: "the quote provider answered with status 204"},
		{name: "301", serve: say("HTTP/1.1 301 Moved\r\nLocation: " + trap.URL + "TARGET\r\n\r\n"), status: 502, reason: "the quote provider answered with status 301"},
		{name: "302", serve: say("HTTP/1.1 302 Found\r\nLocation: " + trap.URL + "TARGET\r\nContent-Length: 6\r\n\r\n201.36"), status: 502, reason: "the quote provider answered with status 302"},
		{name: "307", serve: say("HTTP/1.1 307 Temporary\r\nLocation: " + trap.URL + "TARGET\r\n\r\n"), status: 502, reason: "the quote provider answered with status 307"},
		{name: "malformed Location", serve: say("HTTP/1.1 302 Found\r\nLocation: ://%zzTARGET\r\n\r\n"), status: 502, reason: "the quote provider answered with status 302"},

		{name: "HTML", serve: say(ok + "Content-Type: text/html\r\n\r\n<html>201.36 TARGET"), status: 502, reason: "the quote provider's answer has text for a price"},
		{name: "text for a price", serve: say(ok + "\r\n\"TARGET\""), status: 502, reason: "the quote provider's answer has text for a price"},
		{name: "longer than it says", serve: say(ok + "Content-Length: 3\r\n\r\nabcTARGET"), status: 502, reason: "the quote provider's answer has text for a price"},
		{name: "over 1 MiB", serve: say(ok + "\r\n" + strings.Repeat(" ", maxBody) + "201.36"), status: 502, reason: "the quote provider's answer is larger than 1 MiB"},
		{name: "without end", serve: drip(ok+"\r\n", strings.Repeat(" ", 1<<18)), status: 502, reason: "the quote provider's answer is larger than 1 MiB"},
		{name: "gzip bomb", serve: say(ok + "Content-Encoding: gzip\r\n\r\n" + bomb.String()), status: 502, reason: "the quote provider's answer is larger than 1 MiB"},
		{name: "not gzip", serve: say(ok + "Content-Encoding: gzip\r\n\r\nTARGET"), status: 502, reason: "the quote provider's answer cannot be decoded"},
		{name: "gzip cut short", serve: say(ok + "Content-Encoding: gzip\r\n\r\n" + bomb.String()[:9]), status: 502, reason: "the quote provider broke off its answer"},

		{name: "stalled before headers", serve: func(conn net.Conn, _ string) { conn.Read(make([]byte, 1)) }, status: 504, slow: true},
		{name: "stalled before the body", serve: func(conn net.Conn, _ string) {
			io.WriteString(conn, ok+"Content-Length: 6\r\n\r\n")
			conn.Read(make([]byte, 1))
		}, status: 504, slow: true},
		{name: "dripping a header", serve: drip(ok+"X: ", "x"), status: 504, slow: true},
		{name: "dripping headers", serve: drip(ok, "X: x\r\n"), status: 504, slow: true},
		{name: "dripping interim answers", serve: drip("", "HTTP/1.1 103 Early Hints\r\n\r\n"), status: 504, slow: true},
		{name: "dripping a body", serve: drip(ok+"\r\n", " "), status: 504, slow: true},
		{name: "dripping chunks", serve: drip(ok+"Transfer-Encoding: chunked\r\n\r\n", "1\r\n \r\n"), status: 504, slow: true},

		{name: "closed at once", serve: func(net.Conn, string) {}, status: 502, reason: "the connection to the quote provider ended without an answer"},
		{name: "reset", serve: func(conn net.Conn, _ string) { conn.(*net.TCPConn).SetLinger(0) }, status: 502, reason: "the connection to the quote provider ended without an answer"},
		{name: "closed in the headers", serve: say(ok + "X-Request: TARGET"), status: 502, reason: "the quote provider broke off its answer"},
		{name: "closed in the body", serve: say(ok + "Content-Length: 7\r\n\r\n201.36"), status: 502, reason: "the quote provider broke off its answer"},
		{name: "closed in a chunk", serve: say(ok + "Transfer-Encoding: chunked\r\n\r\n7\r\n201.36"), status: 502, reason: "the quote provider broke off its answer"},

		{name: "malformed status line", serve: say("TARGET\r\n\r\n"), status: 502, reason: "the quote provider's answer is not valid HTTP"},
		{name: "malformed status", serve: say("HTTP/1.1 TARGET OK\r\n\r\n"), status: 502, reason: "the quote provider's answer is not valid HTTP"},
		{name: "malformed version", serve: say("HTTP/TARGET 200 OK\r\n\r\n"), status: 502, reason: "the quote provider's answer is not valid HTTP"},
		{name: "malformed header", serve: say(ok + "TARGET\r\n\r\n"), status: 502, reason: "the quote provider's answer is not valid HTTP"},
		{name: "malformed length", serve: say(ok + "Content-Length: TARGET\r\n\r\n"), status: 502, reason: "the quote provider's answer is not valid HTTP"},
		{name: "unknown encoding", serve: say(ok + "Transfer-Encoding: TARGET\r\n\r\n"), status: 502, reason: "the quote provider's answer is not valid HTTP"},
		{name: "malformed chunk", serve: say(ok + "Transfer-Encoding: chunked\r\n\r\nTARGET\r\n"), status: 502, reason: "the quote provider's answer cannot be decoded"},
		{name: "huge header", serve: say(ok + "X: TARGET" + strings.Repeat("x", 2*maxBody) + "\r\n\r\n"), status: 502, reason: "the quote provider's headers are larger than 1 MiB"},
		{name: "another protocol", serve: say("HTTP/1.1 101 TARGET\r\nConnection: upgrade\r\nUpgrade: TARGET\r\n\r\nTARGET"), status: 502, reason: "the quote provider answered with status 101"},

		{name: "HTTP/0.9", serve: say("201.36 TARGET"), status: 502, reason: "the quote provider's answer is not valid HTTP"},
		{name: "HTTP/2", serve: say("\x00\x00\x00\x04\x00\x00\x00\x00\x00TARGET\r\n\r\n"), status: 502, reason: "the quote provider's answer is not valid HTTP"},
		{name: "Retry-After without 429", serve: say("HTTP/1.1 503 TARGET\r\nRetry-After: 30\r\n\r\n"), status: 502, reason: "the quote provider answered with status 503"},
		{name: "an error with 200", serve: say(ok + "\r\n{\"error\":\"TARGET\"}"), status: 502, reason: "the quote provider's answer has no price where QUOTE_POINTER points"},
		{name: "N/A with 200", serve: say(ok + "\r\nN/A")},
		{name: "Infinity in JavaScript", serve: say(ok + "\r\n1e400"), status: 502, reason: "the quote provider's price is too large for a number"},
		{name: "a byte order mark and HTML", serve: say(ok + "\r\n\ufeff<html>TARGET"), status: 502, reason: "the quote provider's answer has text for a price"},

		{name: "TLS to a plain port", scheme: "https", serve: say("HTTP/1.1 400 TARGET\r\n\r\n"), status: 502, reason: "the quote provider does not speak TLS at this port"},
		{name: "TLS, closed at once", scheme: "https", serve: func(net.Conn, string) {}, status: 502, reason: "the connection to the quote provider failed before it could be asked"},
		{name: "TLS, an alert", scheme: "https", serve: say("\x15\x03\x01\x00\x02\x02\x28"), status: 502, reason: "the quote provider refused TLS"},
		{name: "refused", serve: nil, status: 502, reason: "the quote provider cannot be reached"},
	} {
		t.Run(test.name, func(t *testing.T) {
			listener, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			var conns sync.WaitGroup
			if test.serve == nil {
				listener.Close()
			}
			conns.Go(func() {
				for {
					conn, err := listener.Accept()
					if err != nil {
						return
					}
					conns.Go(func() {
						defer conn.Close()
						target := ""
						if test.scheme == "https" {
							conn.Read(make([]byte, 4096)) // TLS may have no line that ends
						} else if req, err := http.ReadRequest(bufio.NewReader(conn)); err == nil {
							target = req.RequestURI
						}
						test.serve(conn, target)
					})
				}
			})

			var logged bytes.Buffer
			log.SetOutput(&logged) // where net/http writes what it has no other place for
			defer log.SetOutput(os.Stderr)

			scheme := "http"
			if test.scheme != "" {
				scheme = test.scheme
			}
			template, err := ParseTemplate(scheme+"://"+listener.Addr().String()+"/quote?symbol={ticker}&apikey={key}", key)
			if err != nil {
				t.Fatal(err)
			}
			var lines bytes.Buffer
			upstream := NewUpstream(template, nil, 10*time.Second, slog.New(slog.NewTextHandler(&lines, nil)))
			if test.slow {
				upstream.timeout = timeout
			}

			start := time.Now()
			q, err := upstream.Quote(t.Context(), "AAPL")
			took := time.Since(start)
			listener.Close()
			conns.Wait() // each ends when the client has closed it
			log.SetOutput(os.Stderr)

			var failure *UpstreamError
			switch {
			case test.status == 0:
				if err != ErrUnknown {
					t.Errorf("%+v, %v", q, err)
				}
			case !errors.As(err, &failure):
				t.Fatalf("%+v, %v", q, err)
			default:
				reason := test.reason
				if test.slow {
					reason = "the quote provider took longer than 50ms to answer"
				}
				if want := (UpstreamError{test.status, test.retryAfter, reason}); *failure != want {
					t.Errorf("%+v, want %+v", *failure, want)
				}
			}
			if test.slow && took < timeout || took > 2*time.Second {
				t.Errorf("took %v", took)
			}

			if got := strings.Count(lines.String(), "\n"); got != 1 {
				t.Errorf("%d lines in the log: %s", got, &lines)
			}
			told := fmt.Sprintf("%+v %+v %s %s", err, failure, &lines, &logged)
			for _, secret := range []string{key, escaped, "s%26cret", "cret", "apikey", "/quote", "symbol"} {
				if strings.Contains(told, secret) {
					t.Errorf("%s is in %s", secret, told)
				}
			}
		})
	}
}

// stalled is a provider that never answers.
type stalled struct{}

func (stalled) RoundTrip(r *http.Request) (*http.Response, error) {
	<-r.Context().Done()
	return nil, r.Context().Err()
}

func TestFetchMayTakeFiveSeconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		upstream := NewUpstream(Template{url: "http://example.com/{ticker}"}, nil, 0, slog.New(slog.DiscardHandler))
		upstream.transport = stalled{}
		start := time.Now()
		_, err := upstream.Quote(t.Context(), "AAPL")
		var failure *UpstreamError
		if took := time.Since(start); !errors.As(err, &failure) || failure.Status != 504 || took != 5*time.Second {
			t.Errorf("%v after %v", err, took)
		}
	})
}
