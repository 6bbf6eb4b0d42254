package quote

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// The providers of the README, with what they answer for a ticker that they
// know and for one that they do not.
func TestProviders(t *testing.T) {
	const key = "a&b c/+"
	for _, test := range []struct {
		name, template, pointer string
		target                  string // that the provider is asked for, of ticker and key
		known                   string
		unknown                 string
		unknownStatus           int
	}{
		{
			"Twelve Data", "https://api.twelvedata.com/price?symbol={ticker}&apikey={key}", "/price",
			"/price?symbol=TICKER&apikey=KEY",
			`{"price":"201.36000"}`,
			`{"code":404,"message":"**symbol** or **figi** parameter is missing or invalid. Please provide a valid symbol according to API documentation: https://twelvedata.com/docs#reference-data","status":"error"}`, 200,
		},
		{
			"Finnhub", "https://finnhub.io/api/v1/quote?symbol={ticker}&token={key}", "/c",
			"/api/v1/quote?symbol=TICKER&token=KEY",
			`{"c":201.36000,"d":-0.73,"dp":-0.3612,"h":202.75,"l":199.7,"o":200.71,"pc":202.09,"t":1747944000}`,
			`{"c":0,"d":null,"dp":null,"h":0,"l":0,"o":0,"pc":0,"t":0}`, 200,
		},
		{
			"Tiingo", "https://api.tiingo.com/iex/?tickers={ticker}&token={key}", "/0/tngoLast",
			"/iex/?tickers=TICKER&token=KEY",
			`[{"ticker":"AAPL","timestamp":"2025-05-22T20:00:00+00:00","lastSaleTimestamp":"2025-05-22T20:00:00+00:00","quoteTimestamp":null,"open":200.71,"high":202.75,"low":199.7,"mid":null,"tngoLast":201.36000,"last":201.36,"lastSize":null,"bidSize":null,"bidPrice":null,"askPrice":null,"askSize":null,"volume":46742407,"prevClose":202.09}]`,
			`[]`, 200,
		},
		{
			"Alpha Vantage", "https://www.alphavantage.co/query?function=GLOBAL_QUOTE&symbol={ticker}&apikey={key}", "/Global Quote/05. price",
			"/query?function=GLOBAL_QUOTE&symbol=TICKER&apikey=KEY",
			`{"Global Quote":{"01. symbol":"AAPL","02. open":"200.7100","03. high":"202.7500","04. low":"199.7000","05. price":"201.36000","06. volume":"46742407","07. latest trading day":"2025-05-22","08. previous close":"202.0900","09. change":"-0.7300","10. change percent":"-0.3612%"}}`,
			`{"Global Quote":{}}`, 200,
		},
		{
			"Yahoo", "https://query1.finance.yahoo.com/v8/finance/chart/{ticker}?interval=1d&range=1d", "/chart/result/0/meta/regularMarketPrice",
			"/v8/finance/chart/TICKER?interval=1d&range=1d",
			`{"chart":{"result":[{"meta":{"currency":"USD","symbol":"AAPL","exchangeName":"NMS","regularMarketTime":1747944001,"regularMarketPrice":201.36000,"previousClose":202.09},"timestamp":[1747920600],"indicators":{"quote":[{"close":[201.36000061035156]}]}}],"error":null}}`,
			`{"chart":{"result":null,"error":{"code":"Not Found","description":"No data found, symbol may be delisted"}}}`, 404,
		},
		{
			"a price alone", "https://price.example.com/{key}/{ticker}.txt", "",
			"/KEY/TICKER.txt",
			"201.36000\n",
			"N/A\n", 200,
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			var target string
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				target = r.RequestURI
				if agent := r.UserAgent(); r.Method != "GET" || agent == "" || strings.Contains(agent, "Go-http-client") {
					t.Errorf("%s by %q", r.Method, agent)
				}
				if strings.Contains(target, "NOPE") {
					w.WriteHeader(test.unknownStatus)
					io.WriteString(w, test.unknown)
					return
				}
				io.WriteString(w, test.known)
			}))
			defer server.Close()

			if _, err := ParseTemplate(test.template); err != nil {
				t.Fatal(err)
			}
			_, rest, _ := strings.Cut(test.template, "://")
			template, err := ParseTemplate(server.URL + rest[strings.Index(rest, "/"):])
			if err != nil {
				t.Fatal(err)
			}
			pointer, err := ParsePointer(test.pointer)
			if err != nil {
				t.Fatal(err)
			}
			var log strings.Builder
			upstream := NewUpstream(template.WithKey(key), pointer, time.Minute, slog.New(slog.NewTextHandler(&log, nil)))

			for ticker, escaped := range map[string]string{"AAPL": "AAPL", "BRK.B": "BRK.B", "^GSPC": "%5EGSPC", "EURUSD=X": "EURUSD%3DX"} {
				q, err := upstream.Quote(ticker)
				if want := (Quote{Price: "201.36000", Origin: "upstream"}); q != want || err != nil {
					t.Errorf("%s: %+v, %v", ticker, q, err)
				}
				want := strings.NewReplacer("TICKER", escaped, "KEY", "a%26b%20c%2F%2B").Replace(test.target)
				if target != want {
					t.Errorf("%s: asked for %s, want %s", ticker, target, want)
				}
			}
			if q, err := upstream.Quote("NOPE"); !errors.Is(err, ErrUnknown) {
				t.Errorf("NOPE: %+v, %v", q, err)
			}
			if got := log.String(); strings.Count(got, "\n") != 1 || !strings.Contains(got, "ticker=NOPE") {
				t.Errorf("the log has %q, want the unknown ticker alone", got)
			}
		})
	}
}

// provider answers as a server would, with no connection: in a synctest bubble.
type provider func(ticker string) *http.Response

func (p provider) RoundTrip(r *http.Request) (*http.Response, error) {
	return p(strings.TrimPrefix(r.URL.Path, "/")), nil
}

func answer(status int, body string, header ...string) *http.Response {
	recorder := httptest.NewRecorder()
	for i := 0; i < len(header); i += 2 {
		recorder.Header().Set(header[i], header[i+1])
	}
	recorder.WriteHeader(status)
	io.WriteString(recorder, body)
	return recorder.Result()
}

// ask returns what a client sees: the price, or the status, Retry-After and
// reason.
func ask(u *Upstream, ticker string) string {
	q, err := u.Quote(ticker)
	var failure *UpstreamError
	switch {
	case err == nil:
		return q.Price.String()
	case errors.As(err, &failure):
		return fmt.Sprintf("%d %s %s", failure.Status, failure.RetryAfter, failure.Reason)
	case errors.Is(err, ErrUnknown):
		return "unknown"
	}
	return err.Error()
}

func asking(p provider, ttl time.Duration, lines io.Writer) *Upstream {
	upstream := NewUpstream(Template{url: "http://example.com/{ticker}", host: "example.com"}, nil, ttl, slog.New(slog.NewTextHandler(lines, nil)))
	upstream.transport = p
	return upstream
}

func TestRateLimit(t *testing.T) {
	const limited = " the quote provider's rate limit is reached"
	for _, test := range []struct {
		name, retryAfter string // DATE is 30 s later
		ttl, hold        time.Duration
		told             string
	}{
		{"seconds", "30", time.Minute, 30 * time.Second, "30"},
		{"a date", "DATE", time.Minute, 30 * time.Second, "30"},
		{"a minute at most", "86400", time.Hour, time.Minute, "60"},
		{"a date far away", "Fri, 31 Dec 9999 23:59:59 GMT", time.Hour, time.Minute, "60"},
		{"a date in the past", "Thu, 22 May 1975 20:00:00 GMT", time.Hour, time.Second, "1"},
		{"0", "0", time.Hour, time.Second, "1"},
		{"nothing", "", 10 * time.Second, 10 * time.Second, "10"},
		{"nothing, a long TTL", "", time.Hour, time.Minute, "60"},
		{"nothing, a broken TTL", "", 2500 * time.Millisecond, 2500 * time.Millisecond, "3"},
		{"nothing, no TTL", "", 0, time.Second, "1"},
		{"negative", "-5", time.Hour, time.Second, "1"},
		{"more seconds than a duration has", "9223372036854775807", time.Hour, time.Minute, "60"},
		{"more seconds than a number has", "99999999999999999999999", 10 * time.Second, 10 * time.Second, "10"},
		{"a fraction", "1.5", 10 * time.Second, 10 * time.Second, "10"},
		{"words", "soon", 10 * time.Second, 10 * time.Second, "10"},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				fetches := 0
				upstream := asking(func(string) *http.Response {
					if fetches++; fetches > 1 {
						return answer(200, "201.36")
					}
					date := time.Now().Add(30 * time.Second).UTC().Format(http.TimeFormat)
					return answer(429, "", "Retry-After", strings.Replace(test.retryAfter, "DATE", date, 1))
				}, test.ttl, io.Discard)
				start := time.Now()
				if got, want := ask(upstream, "AAPL"), "503 "+test.told+limited; got != want {
					t.Errorf("%s, want %s", got, want)
				}
				for i := range 50 {
					if got, want := ask(upstream, fmt.Sprintf("T%d", i)), "503 "+test.told+limited; got != want {
						t.Errorf("%s, want %s", got, want)
					}
				}
				time.Sleep(test.hold - time.Since(start) - time.Millisecond)
				if got, want := ask(upstream, "AAPL"), "503 1"+limited; got != want || fetches != 1 {
					t.Errorf("at the end: %s, want %s; %d fetches", got, want, fetches)
				}
				time.Sleep(time.Millisecond)
				if got := ask(upstream, "AAPL"); got != "201.36" {
					t.Errorf("afterwards: %s", got)
				}
			})
		})
	}
}

// A rate limit touches neither what is kept nor the fetches that are under way,
// and the provider's last word counts.
func TestRateLimitBesideOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var fetches atomic.Int32
		upstream := asking(func(ticker string) *http.Response {
			fetches.Add(1)
			switch ticker {
			case "SLOW":
				time.Sleep(3 * time.Second)
			case "SHORT":
				return answer(429, "", "Retry-After", "5")
			case "LONG":
				time.Sleep(time.Second)
				return answer(429, "", "Retry-After", "29")
			case "NOPE":
				return answer(404, "")
			}
			return answer(200, "201.36")
		}, 20*time.Second, io.Discard)
		ask(upstream, "KEPT")
		ask(upstream, "NOPE")

		start := time.Now()
		for ticker, want := range map[string]string{
			"SLOW": "201.36",
			"LONG": "503 29 the quote provider's rate limit is reached",
		} {
			for range 2 { // the second shares the fetch of the first
				go func() {
					if got := ask(upstream, ticker); got != want {
						t.Errorf("%s, under way: %s, want %s", ticker, got, want)
					}
				}()
			}
		}
		synctest.Wait()
		ask(upstream, "SHORT")
		go func() { // the fetch of SLOW is still under way
			if got := ask(upstream, "SLOW"); got != "201.36" {
				t.Errorf("a late one: %s", got)
			}
		}()
		for _, step := range []struct {
			at           time.Duration
			ticker, want string
		}{
			{4 * time.Second, "KEPT", "201.36"},
			{4 * time.Second, "NOPE", "unknown"},
			{4 * time.Second, "SLOW", "201.36"},
			{4 * time.Second, "OTHER", "503 26 the quote provider's rate limit is reached"},
			{20500 * time.Millisecond, "KEPT", "503 10 the quote provider's rate limit is reached"}, // expired
			{29999 * time.Millisecond, "OTHER", "503 1 the quote provider's rate limit is reached"},
		} {
			time.Sleep(time.Until(start.Add(step.at)))
			if got := ask(upstream, step.ticker); got != step.want {
				t.Errorf("%s at %v: %s, want %s", step.ticker, step.at, got, step.want)
			}
		}
		if n := fetches.Load(); n != 5 {
			t.Errorf("%d fetches", n)
		}
		time.Sleep(time.Millisecond)
		if got := ask(upstream, "OTHER"); got != "201.36" {
			t.Errorf("afterwards: %s", got)
		}
	})
}

// The log tells one unknown ticker a minute, and what the provider answered.
func TestUnknownTickersInTheLog(t *testing.T) {
	for _, test := range []struct {
		name    string
		pointer Pointer
		status  int
		body    string
		why     string
	}{
		{"a mistyped path", nil, 404, "", "the quote provider answered with status 404"},
		{"a mistyped pointer", Pointer{"prise"}, 200, `{"price":1}`, "the quote provider's answer has nothing where QUOTE_POINTER points"},
		{"an error object", Pointer{"price"}, 200, `{"status":"error"}`, "the quote provider's answer has nothing where QUOTE_POINTER points"},
		{"null", Pointer{"price"}, 200, `{"price":null}`, "the quote provider's price is null"},
		{"0", nil, 200, "0.00", "the quote provider's price is 0"},
		{"N/A", nil, 200, "N/A", `the quote provider's price is \"N/A\"`},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var lines strings.Builder
				upstream := asking(func(string) *http.Response { return answer(test.status, test.body) }, 0, &lines)
				upstream.pointer = test.pointer
				for range 100 { // for 5 minutes
					if got := ask(upstream, "NOPE"); got != "unknown" {
						t.Errorf("NOPE: %s", got)
					}
					time.Sleep(3 * time.Second)
				}
				const told = `level=WARN msg="no quote" ticker=NOPE provider=example.com err="unknown ticker: `
				if n := strings.Count(lines.String(), told+test.why+"\"\n"); n != 5 || strings.Count(lines.String(), "\n") != n {
					t.Errorf("%d lines, want 5 with %s:\n%s", n, test.why, &lines)
				}
			})
		})
	}
}

// On a connection for all fetches, a provider that answers twice gave now and
// then the price of one ticker for the next.
func TestConnectionIsOfOneFetch(t *testing.T) {
	connections := map[string]bool{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		connections[r.RemoteAddr] = true
		io.WriteString(w, "1")
	}))
	defer server.Close()
	template, err := ParseTemplate(server.URL + "/{ticker}")
	if err != nil {
		t.Fatal(err)
	}
	upstream := NewUpstream(template, nil, 0, slog.New(slog.DiscardHandler))
	for range 9 {
		if got := ask(upstream, "AAPL"); got != "1" {
			t.Error(got)
		}
	}
	if len(connections) != 9 {
		t.Errorf("9 fetches on %d connections", len(connections))
	}
}
