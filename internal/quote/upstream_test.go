package quote

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// provider answers as a server would, with no connection: in a synctest bubble.
type provider func(r *http.Request) (*http.Response, error)

func (p provider) RoundTrip(r *http.Request) (*http.Response, error) { return p(r) }

func answer(status int, body string, header ...string) (*http.Response, error) {
	w := httptest.NewRecorder()
	for i := 0; i < len(header); i += 2 {
		w.Header().Set(header[i], header[i+1])
	}
	w.WriteHeader(status)
	io.WriteString(w, body)
	return w.Result(), nil
}

func newUpstream(t *testing.T, template, key, pointer string, ttl time.Duration) (*Upstream, *strings.Builder) {
	t.Helper()
	parsed, noTemplate := ParseTemplate(template, key)
	tokens, noPointer := ParsePointer(pointer)
	if err := errors.Join(noTemplate, noPointer); err != nil {
		t.Fatal(err)
	}
	log := new(strings.Builder)
	return NewUpstream(parsed, tokens, ttl, slog.New(slog.NewTextHandler(log, nil))), log
}

// ask returns what a client sees: the price, or the status, Retry-After and
// reason.
func ask(u *Upstream, ticker string) string {
	q, err := u.Quote(ticker)
	var failure *UpstreamError
	switch {
	case err == nil && q.Origin == "upstream" && q.Day == "":
		return q.Price.String()
	case errors.As(err, &failure):
		return strings.TrimSpace(fmt.Sprint(failure.Status, " ", failure.RetryAfter, " ", failure.Reason))
	case errors.Is(err, ErrUnknown):
		return "unknown"
	}
	return fmt.Sprint(q, err)
}

// The providers of the README, with what they answer for a ticker that they
// know and for one that they do not.
func TestProviders(t *testing.T) {
	for _, test := range []struct{ template, pointer, known, unknown string }{
		{"https://api.twelvedata.com/price?symbol={ticker}&apikey={key}", "/price",
			`{"price":"201.36000"}`, `{"code":404,"message":"**symbol** or **figi** parameter is missing or invalid.","status":"error"}`},
		{"https://finnhub.io/api/v1/quote?symbol={ticker}&token={key}", "/c",
			`{"c":201.36000,"d":-0.73,"pc":202.09,"t":1747944000}`, `{"c":0,"d":null,"dp":null,"h":0,"l":0,"o":0,"pc":0,"t":0}`},
		{"https://api.tiingo.com/iex/?tickers={ticker}&token={key}", "/0/tngoLast",
			`[{"ticker":"AAPL","mid":null,"tngoLast":201.36000,"last":null}]`, `[]`},
		{"https://www.alphavantage.co/query?function=GLOBAL_QUOTE&symbol={ticker}&apikey={key}", "/Global Quote/05. price",
			`{"Global Quote":{"01. symbol":"AAPL","05. price":"201.36000"}}`, `{"Global Quote":{}}`},
		{"https://price.example.com/{key}/{ticker}.txt", "", "201.36000\n", "N/A\n"},
	} {
		u, log := newUpstream(t, test.template, "a&b c/+", test.pointer, time.Minute)
		var asked string
		u.transport = provider(func(r *http.Request) (*http.Response, error) {
			asked = r.URL.String()
			if agent := r.UserAgent(); r.Method != "GET" || agent == "" || strings.Contains(agent, "Go-http-client") {
				t.Errorf("%s by %q", r.Method, agent)
			}
			if strings.Contains(asked, "NOPE") {
				return answer(200, test.unknown)
			}
			return answer(200, test.known)
		})
		for ticker, escaped := range map[string]string{"AAPL": "AAPL", "^GSPC": "%5EGSPC", "EURUSD=X": "EURUSD%3DX"} {
			if got := ask(u, ticker); got != "201.36000" {
				t.Errorf("%s of %s: %s", ticker, test.template, got)
			}
			if want := strings.NewReplacer("{ticker}", escaped, "{key}", "a%26b%20c%2F%2B").Replace(test.template); asked != want {
				t.Errorf("%s: asked for %s, want %s", ticker, asked, want)
			}
		}
		if got := ask(u, "NOPE"); got != "unknown" || strings.Count(log.String(), "\n") != 1 || !strings.Contains(log.String(), "ticker=NOPE") {
			t.Errorf("NOPE of %s: %s, and the log has %s", test.template, got, log)
		}
	}
}

const limited = " the quote provider's rate limit is reached"

func TestRateLimit(t *testing.T) {
	for _, test := range []struct {
		retryAfter string
		ttl, hold  time.Duration
		told       string
	}{
		{"30", time.Minute, 30 * time.Second, "30"},
		{"Sat, 01 Jan 2000 00:00:30 GMT", time.Minute, 30 * time.Second, "30"}, // synctest's clock begins in 2000.
		{"0", time.Hour, time.Second, "1"},
		{"9223372036854775807", time.Hour, time.Minute, "60"},
		{"soon", 2500 * time.Millisecond, 2500 * time.Millisecond, "3"},
		{"", time.Hour, time.Minute, "60"},
	} {
		synctest.Test(t, func(t *testing.T) {
			u, log := newUpstream(t, "http://example.com/{ticker}", "", "", test.ttl)
			begin, limits := time.Now(), 1
			u.transport = provider(func(r *http.Request) (*http.Response, error) {
				if r.URL.Path == "/AAPL" && limits > 0 {
					limits--
					return answer(429, "", "Retry-After", test.retryAfter)
				}
				return answer(200, "201.36")
			})
			ask(u, "KEPT")
			for _, step := range []struct {
				at   time.Duration
				want string
			}{{0, "503 " + test.told + limited}, {0, "503 " + test.told + limited}, {test.hold - 1, "503 1" + limited}, {test.hold, "201.36"}} {
				time.Sleep(time.Until(begin.Add(step.at)))
				if got := ask(u, "AAPL"); got != step.want {
					t.Errorf("Retry-After: %s: %s after %v, want %s", test.retryAfter, got, step.at, step.want)
				}
				if got := ask(u, "KEPT"); got != "201.36" && test.ttl > step.at {
					t.Errorf("%s, although it is kept", got)
				}
			}
			if want := fmt.Sprintf("rate limit is reached: nothing is fetched for %v\"\n", test.hold); strings.Count(log.String(), "\n") != 1 || !strings.HasSuffix(log.String(), want) {
				t.Errorf("the log has %s, want %s", log, want)
			}
		})
	}
}

// The log tells one unknown ticker a minute.
func TestUnknownTickersInTheLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u, log := newUpstream(t, "http://example.com/{ticker}", "", "", 0)
		u.transport = provider(func(*http.Request) (*http.Response, error) { return answer(200, "N/A") })
		for range 100 { // for 5 minutes
			ask(u, "NOPE")
			time.Sleep(3 * time.Second)
		}
		const line = `level=WARN msg="no quote" ticker=NOPE provider=example.com err="unknown ticker: the quote provider's price is \"N/A\""` + "\n"
		if n := strings.Count(log.String(), line); n != 5 || strings.Count(log.String(), "\n") != 5 {
			t.Errorf("%d lines, want 5 with %s:\n%s", n, line, log)
		}
	})
}

func TestFetchMayTakeFiveSeconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u, log := newUpstream(t, "http://example.com/{ticker}", "", "", 0)
		u.transport = provider(func(r *http.Request) (*http.Response, error) {
			<-r.Context().Done()
			return nil, r.Context().Err()
		})
		begin := time.Now()
		if got := ask(u, "AAPL"); got != "504  the quote provider did not answer in time" || time.Since(begin) != 5*time.Second {
			t.Errorf("%s after %v", got, time.Since(begin))
		}
		if !strings.Contains(log.String(), "did not answer in time: context deadline exceeded") {
			t.Errorf("the log has %s", log)
		}
	})
}

// A provider that does its worst, on a connection for each fetch, is told from
// others by status. If it repeats what it was asked for, the key is neither in
// an error nor in the log.
func TestHostileUpstreams(t *testing.T) {
	const ok = "HTTP/1.1 200 OK\r\n"
	const noAnswer = "502  the quote provider gave no valid answer"
	const status = "502  the quote provider answered with status "
	for _, test := range []struct{ says, want, cause string }{ // where it says TARGET, it repeats the request's.
		{ok + "\r\n" + strings.Repeat(" ", maxBody-6) + "201.36", "201.36", ""},
		{"HTTP/1.1 404 TARGET\r\n\r\nTARGET", "unknown", ""},
		{"HTTP/1.1 429 TARGET\r\nRetry-After: 30 TARGET\r\n\r\n", "503 10" + limited, ""},
		{"HTTP/1.1 204 TARGET\r\n\r\n", status + "204", ""},
		{"HTTP/1.1 302 Found\r\nLocation: TARGET\r\nContent-Length: 6\r\n\r\n201.36", status + "302", ""},
		{ok + "\r\n\"TARGET\"", "502  the quote provider's price is not a number", ""},
		{ok + "\r\n" + strings.Repeat(" ", maxBody) + "201.36", "502  the quote provider's answer is larger than 1 MiB", ""},
		{ok + "Content-Length: 7\r\n\r\n201.36", noAnswer, "unexpected EOF"},
		{"TARGET" + strings.Repeat("x", 2000), noAnswer, `malformed HTTP response \"/quote?symbol=AAPL&apikey={key}x`},
		{ok + "X: " + strings.Repeat("x", maxHeader) + "\r\n\r\n", noAnswer, "server response headers exceeded"},
		{"dead", "502  the quote provider cannot be reached", "connection refused"},
	} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			conn, _, _ := w.(http.Hijacker).Hijack()
			io.WriteString(conn, strings.ReplaceAll(test.says, "TARGET", r.RequestURI))
			conn.Close()
		}))
		defer server.Close()
		if test.says == "dead" {
			server.Close()
		}
		u, log := newUpstream(t, server.URL+"/quote?symbol={ticker}&apikey={key}", "s&cret k/y", "", 10*time.Second)
		if got := ask(u, "AAPL"); got != test.want {
			t.Errorf("%.60q: %s, want %s", test.says, got, test.want)
		}
		if n := strings.Count(log.String(), "\n"); (n == 1) != (test.want != "201.36") || !strings.Contains(log.String(), test.cause) || log.Len() > 1000 {
			t.Errorf("%.60q: %d lines, want one with %s: %s", test.says, n, test.cause, log)
		}
		if _, err := u.Quote("AAPL"); strings.Contains(fmt.Sprint(err, log), "cret") {
			t.Errorf("the key is in %v, or in %s", err, log)
		}
	}
}

// On a connection for all fetches, a provider that answers twice would now and
// then give the price of one ticker for the next.
func TestTransport(t *testing.T) {
	u, _ := newUpstream(t, "http://example.com/{ticker}", "", "", 0)
	transport := u.transport.(*http.Transport)
	if !transport.DisableKeepAlives || transport.Proxy == nil {
		t.Errorf("one connection for each fetch: %v, and a proxy: %v", transport.DisableKeepAlives, transport.Proxy != nil)
	}
}
