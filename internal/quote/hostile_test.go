package quote

import (
	"bufio"
	"bytes"
	"cmp"
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

// The reasons that clients are given when there is no answer.
const (
	noAnswer     = "the quote provider gave no valid answer"
	noConnection = "the quote provider cannot be reached"
	late         = "the quote provider did not answer in time"
)

// limit is how long a fetch may take from a provider that stalls.
const limit = time.Second

// A provider that does its worst is told from others by status, within the
// time limit. If it repeats what it was asked for, the key is neither in an
// error nor in a log.
func TestHostileUpstreams(t *testing.T) {
	const (
		key     = "s&cret k/y"
		escaped = "s%26cret%20k%2Fy"
		ok      = "HTTP/1.1 200 OK\r\n"
	)
	trap := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		t.Errorf("a redirect was followed to %s", r.RequestURI)
	}))
	t.Cleanup(trap.Close) // after the parallel tests

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

	var logged lockedBuffer // where net/http writes what it has no other place for
	log.SetOutput(&logged)
	t.Cleanup(func() {
		log.SetOutput(os.Stderr)
		if strings.Contains(logged.String(), "cret") {
			t.Errorf("the key is in the standard log: %s", logged.String())
		}
	})

	for _, test := range []struct {
		name       string
		serve      func(conn net.Conn, target string)
		status     int // 0 is an unknown ticker
		retryAfter string
		reason     string
		cause      string // net/http's, in the log
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

		{name: "HTML", serve: say(ok + "Content-Type: text/html\r\n\r\n<html>201.36 TARGET"), status: 502, reason: "the quote provider's price is not a number"},
		{name: "text for a price", serve: say(ok + "\r\n\"TARGET\""), status: 502, reason: "the quote provider's price is not a number"},
		{name: "longer than it says", serve: say(ok + "Content-Length: 3\r\n\r\nabcTARGET"), status: 502, reason: "the quote provider's price is not a number"},
		{name: "over 1 MiB", serve: say(ok + "\r\n" + strings.Repeat(" ", maxBody) + "201.36"), status: 502, reason: "the quote provider's answer is larger than 1 MiB"},
		{name: "without end", serve: drip(ok+"\r\n", strings.Repeat(" ", 1<<18)), status: 502, reason: "the quote provider's answer is larger than 1 MiB"},
		{name: "gzip bomb", serve: say(ok + "Content-Encoding: gzip\r\n\r\n" + bomb.String()), status: 502, reason: "the quote provider's answer is larger than 1 MiB"},
		{name: "not gzip", serve: say(ok + "Content-Encoding: gzip\r\n\r\nTARGET"), status: 502, reason: noAnswer, cause: "gzip: invalid header"},
		{name: "gzip cut short", serve: say(ok + "Content-Encoding: gzip\r\n\r\n" + bomb.String()[:9]), status: 502, reason: noAnswer, cause: "unexpected EOF"},

		{name: "stalled before headers", serve: func(conn net.Conn, _ string) { conn.Read(make([]byte, 1)) }, status: 504, reason: late},
		{name: "stalled before the body", serve: func(conn net.Conn, _ string) {
			io.WriteString(conn, ok+"Content-Length: 6\r\n\r\n")
			conn.Read(make([]byte, 1))
		}, status: 504, reason: late},
		{name: "dripping a header", serve: drip(ok+"X: ", "x"), status: 504, reason: late},
		{name: "dripping headers", serve: drip(ok, "X: x\r\n"), status: 504, reason: late},
		{name: "dripping interim answers", serve: drip("", "HTTP/1.1 103 Early Hints\r\n\r\n"), status: 504, reason: late},
		{name: "dripping a body", serve: drip(ok+"\r\n", " "), status: 504, reason: late},
		{name: "dripping chunks", serve: drip(ok+"Transfer-Encoding: chunked\r\n\r\n", "1\r\n \r\n"), status: 504, reason: late, cause: "context deadline exceeded"},

		{name: "closed at once", serve: func(net.Conn, string) {}, status: 502, reason: noAnswer},
		{name: "reset", serve: func(conn net.Conn, _ string) { conn.(*net.TCPConn).SetLinger(0) }, status: 502, reason: noAnswer},
		{name: "closed in the headers", serve: say(ok + "X-Request: TARGET"), status: 502, reason: noAnswer},
		{name: "closed in the body", serve: say(ok + "Content-Length: 7\r\n\r\n201.36"), status: 502, reason: noAnswer, cause: "unexpected EOF"},
		{name: "closed in a chunk", serve: say(ok + "Transfer-Encoding: chunked\r\n\r\n7\r\n201.36"), status: 502, reason: noAnswer},

		{name: "malformed status line", serve: say("TARGET\r\n\r\n"), status: 502, reason: noAnswer, cause: "malformed HTTP response \\\"/quote?symbol=AAPL&apikey={key}\\\""},
		{name: "malformed status", serve: say("HTTP/1.1 TARGET OK\r\n\r\n"), status: 502, reason: noAnswer, cause: "malformed HTTP status code \\\"/quote?symbol=AAPL&apikey={key}\\\""},
		{name: "malformed version", serve: say("HTTP/TARGET 200 OK\r\n\r\n"), status: 502, reason: noAnswer},
		{name: "malformed header", serve: say(ok + "TARGET\r\n\r\n"), status: 502, reason: noAnswer, cause: "malformed MIME header"},
		{name: "malformed length", serve: say(ok + "Content-Length: TARGET\r\n\r\n"), status: 502, reason: noAnswer},
		{name: "unknown encoding", serve: say(ok + "Transfer-Encoding: TARGET\r\n\r\n"), status: 502, reason: noAnswer, cause: "unsupported transfer encoding"},
		{name: "malformed chunk", serve: say(ok + "Transfer-Encoding: chunked\r\n\r\nTARGET\r\n"), status: 502, reason: noAnswer},
		{name: "huge header", serve: say(ok + "X: TARGET" + strings.Repeat("x", maxHeader) + "\r\n\r\n"), status: 502, reason: noAnswer, cause: "server response headers exceeded"},
		{name: "another protocol", serve: say("HTTP/1.1 101 TARGET\r\nConnection: upgrade\r\nUpgrade: TARGET\r\n\r\nTARGET"), status: 502, reason: "the quote provider answered with status 101"},

		{name: "HTTP/0.9", serve: say("201.36 TARGET"), status: 502, reason: noAnswer},
		{name: "HTTP/2", serve: say("\x00\x00\x00\x04\x00\x00\x00\x00\x00TARGET\r\n\r\n"), status: 502, reason: noAnswer},
		{name: "Retry-After without 429", serve: say("HTTP/1.1 503 TARGET\r\nRetry-After: 30\r\n\r\n"), status: 502, reason: "the quote provider answered with status 503"},
		{name: "an error with 200", serve: say(ok + "\r\n{\"error\":\"TARGET\"}"), status: 502, reason: "the quote provider's answer has no price where QUOTE_POINTER points"},
		{name: "N/A with 200", serve: say(ok + "\r\nN/A")},
		{name: "Infinity in JavaScript", serve: say(ok + "\r\n1e400"), status: 502, reason: "the quote provider's price is not a number"},
		{name: "a byte order mark and HTML", serve: say(ok + "\r\n\ufeff<html>TARGET"), status: 502, reason: "the quote provider's price is not a number"},

		{name: "TLS to a plain port", scheme: "https", serve: say("HTTP/1.1 400 TARGET\r\n\r\n"), status: 502, reason: noAnswer, cause: "first record does not look like a TLS handshake"},
		{name: "TLS, closed at once", scheme: "https", serve: func(net.Conn, string) {}, status: 502, reason: noAnswer},
		{name: "TLS, an alert", scheme: "https", serve: say("\x15\x03\x01\x00\x02\x02\x28"), status: 502, reason: noAnswer, cause: "remote error: tls: handshake failure"},
		{name: "refused", serve: nil, status: 502, reason: noConnection, cause: "connect: connection refused"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			address := closedPort(t)
			if test.serve != nil {
				address = accept(t, func(conn net.Conn) {
					target := ""
					if test.scheme == "https" {
						conn.Read(make([]byte, 4096)) // TLS may have no line that ends
					} else if req, err := http.ReadRequest(bufio.NewReader(conn)); err == nil {
						target = req.RequestURI
					}
					test.serve(conn, target)
				})
			}
			template, err := ParseTemplate(cmp.Or(test.scheme, "http") + "://" + address + "/quote?symbol={ticker}&apikey={key}")
			if err != nil {
				t.Fatal(err)
			}
			var lines bytes.Buffer
			upstream := NewUpstream(template.WithKey(key), nil, 10*time.Second, slog.New(slog.NewTextHandler(&lines, nil)))
			if test.reason == late {
				upstream.timeout = limit
			}

			start := time.Now()
			q, err := upstream.Quote("AAPL")
			if took := time.Since(start); test.reason == late && took < limit || took > fetchTimeout {
				t.Errorf("took %v", took)
			}
			var failure *UpstreamError
			switch {
			case test.status == 0:
				if !errors.Is(err, ErrUnknown) {
					t.Errorf("%+v, %v", q, err)
				}
			case !errors.As(err, &failure):
				t.Fatalf("%+v, %v", q, err)
			default:
				if want := (UpstreamError{test.status, test.retryAfter, test.reason}); *failure != want {
					t.Errorf("%+v, want %+v", *failure, want)
				}
			}
			if n := strings.Count(lines.String(), "\n"); n != 1 || !strings.Contains(lines.String(), test.cause) || lines.Len() > 1000 {
				t.Errorf("%d lines, want one with %s: %s", n, test.cause, &lines)
			}
			told := fmt.Sprintf("%+v %+v %s", err, failure, &lines)
			for _, secret := range []string{key, escaped, "s%26cret", "cret"} {
				if strings.Contains(told, secret) {
					t.Errorf("%s is in %s", secret, told)
				}
			}
		})
	}
}

// lockedBuffer is a buffer that many goroutines write to.
type lockedBuffer struct {
	mu   sync.Mutex
	text strings.Builder
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
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
		_, err := upstream.Quote("AAPL")
		var failure *UpstreamError
		if took := time.Since(start); !errors.As(err, &failure) || failure.Status != 504 || took != 5*time.Second {
			t.Errorf("%v after %v", err, took)
		}
	})
}
