package quote

import (
	"cmp"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"
	"time"
)

func TestParseTemplate(t *testing.T) {
	for template, want := range map[string]string{
		"https://api.example.com/{ticker}":                   "api.example.com",
		"HTTP://api.example.com:8080/p?s={ticker}&k={key}":   "api.example.com:8080",
		"http://[::1]:8080?s={ticker}":                       "[::1]:8080",
		"https://api.example.com/{key}/{ticker}?again={key}": "api.example.com",
	} {
		got, err := ParseTemplate(template, "secret")
		if err != nil || got.Host() != want || got.NeedsKey() != strings.Contains(template, "key") {
			t.Errorf("%s: %v, host %s, needs key: %t", template, err, got.Host(), got.NeedsKey())
		}
	}

	for template, want := range map[string]string{
		"":                                      "want an http or https URL",
		"secret":                                "want an http or https URL",
		"secret.example.com/{ticker}":           "want an http or https URL",
		"/secret/{ticker}":                      "want an http or https URL",
		"//secret.example.com/{ticker}":         "want an http or https URL",
		"ftp://secret.example.com/{ticker}":     "want an http or https URL",
		"file:///secret/{ticker}":               "want an http or https URL",
		"http:secret/{ticker}":                  "want an http or https URL",
		"https:///secret/{ticker}":              "want an http or https URL",
		"https://:443/secret/{ticker}":          "want an http or https URL",
		"https://secret.example.com:x/{ticker}": "want an http or https URL",
		"https://secret .example.com/{ticker}":  "want an http or https URL",
		"https://example.com/{ticker}%secret":   "want an http or https URL",
		"https://example.com/{ticker}\nsecret":  "want an http or https URL",
		"https://u:secret@example.com/{ticker}": "a user in the URL is not supported; put {key} in its path or query",
		"https://{key}@example.com/{ticker}":    "a user in the URL is not supported; put {key} in its path or query",
		"https://example.com/secret":            "want {ticker} where the ticker belongs",
		"https://example.com/{TICKER}/secret":   "want {ticker} where the ticker belongs",
		"https://{ticker}.example.com/secret":   "{ticker} and {key} belong in the path or query",
		"https://{key}.example.com/{ticker}":    "{ticker} and {key} belong in the path or query",
		"https://example.com{ticker}":           "{ticker} and {key} belong in the path or query",
		"https://example.com/secret#{ticker}":   "what follows # in a URL is not sent; write a # as %23",
		"https://example.com/{ticker}?k=secr#t": "what follows # in a URL is not sent; write a # as %23",
	} {
		got, err := ParseTemplate(template, "secret")
		if err == nil || err.Error() != want || got != (Template{}) {
			t.Errorf("%q: %v, want %s", template, err, want)
		}
	}
}

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

			if _, err := ParseTemplate(test.template, key); err != nil {
				t.Fatal(err)
			}
			_, rest, _ := strings.Cut(test.template, "://")
			template, err := ParseTemplate(server.URL+rest[strings.Index(rest, "/"):], key)
			if err != nil {
				t.Fatal(err)
			}
			pointer, err := ParsePointer(test.pointer)
			if err != nil {
				t.Fatal(err)
			}
			var log strings.Builder
			upstream := NewUpstream(template, pointer, time.Minute, slog.New(slog.NewTextHandler(&log, nil)))

			for ticker, escaped := range map[string]string{"AAPL": "AAPL", "BRK.B": "BRK.B", "^GSPC": "%5EGSPC", "EURUSD=X": "EURUSD%3DX"} {
				q, err := upstream.Quote(t.Context(), ticker)
				if want := (Quote{Price: "201.36000", Origin: "upstream"}); q != want || err != nil {
					t.Errorf("%s: %+v, %v", ticker, q, err)
				}
				want := strings.NewReplacer("TICKER", escaped, "KEY", "a%26b%20c%2F%2B").Replace(test.target)
				if target != want {
					t.Errorf("%s: asked for %s, want %s", ticker, target, want)
				}
			}
			if q, err := upstream.Quote(t.Context(), "NOPE"); err != ErrUnknown {
				t.Errorf("NOPE: %+v, %v", q, err)
			}
			if log.Len() > 0 {
				t.Error(&log)
			}
		})
	}
}

func TestParsePrice(t *testing.T) {
	const noPrice = "the quote provider's answer has no price where QUOTE_POINTER points"
	const noNumber = "the quote provider's answer has text for a price"
	for _, test := range []struct {
		value any
		want  json.Number
		err   string
	}{
		{json.Number("201.3600"), "201.3600", ""},
		{json.Number("201"), "201", ""},
		{json.Number("-37.63"), "-37.63", ""}, // oil, on 2020-04-20
		{json.Number("1e3"), "1e3", ""},
		{json.Number("1.5E-7"), "1.5E-7", ""},
		{json.Number("0.0001"), "0.0001", ""},
		{json.Number("201.36000061035156"), "201.36000061035156", ""},
		{"201.3600", "201.3600", ""},
		{" 201.36\r\n", "201.36", ""},
		{"-37.63", "-37.63", ""},
		{"$201.36", "201.36", ""},
		{"-$37.63", "-37.63", ""},
		{"1,201.36", "1201.36", ""},
		{"$1,201.36", "1201.36", ""},
		{"12,345,678", "12345678", ""},
		{"1234567.8", "1234567.8", ""},

		{nil, "", "unknown ticker"},
		{json.Number("0"), "", "unknown ticker"},
		{json.Number("0.00"), "", "unknown ticker"},
		{json.Number("-0"), "", "unknown ticker"},
		{json.Number("0e5"), "", "unknown ticker"},
		{"0", "", "unknown ticker"},
		{"0.00", "", "unknown ticker"},
		{"$0.00", "", "unknown ticker"},
		{"", "", "unknown ticker"},
		{" \n", "", "unknown ticker"},
		{"N/A", "", "unknown ticker"},
		{"n/a", "", "unknown ticker"},

		{"abc", "", noNumber},
		{"NaN", "", noNumber},
		{"Inf", "", noNumber},
		{"-", "", noNumber},
		{"$", "", noNumber},
		{".5", "", noNumber},
		{"5.", "", noNumber},
		{"+5", "", noNumber},
		{"007", "", noNumber},
		{"0x1F", "", noNumber},
		{"1_000", "", noNumber},
		{"1 000", "", noNumber},
		{"1,2,3", "", noNumber},
		{"1,2345", "", noNumber},
		{"1234,567", "", noNumber},
		{",123", "", noNumber},
		{"0,123", "", noNumber},
		{"201,36", "", noNumber},
		{"1e", "", noNumber},
		{"201.36 USD", "", noNumber},
		{"€201.36", "", noNumber},
		{"٣", "", noNumber},
		{"1\n2", "", noNumber},
		{strings.Repeat("1", 65), "", noNumber},

		{true, "", noPrice},
		{false, "", noPrice},
		{map[string]any{}, "", noPrice},
		{[]any{json.Number("1")}, "", noPrice},
	} {
		got, err := parsePrice(test.value)
		if got != test.want || err == nil && test.err != "" || err != nil && err.Error() != test.err {
			t.Errorf("%#v: %q, %v, want %q, %s", test.value, got, err, test.want, test.err)
		}
		if test.want != "" && !json.Valid([]byte(got)) {
			t.Errorf("%#v: %q is no number in JSON", test.value, got)
		}
		var upstream *UpstreamError
		if test.want == "" && test.err != ErrUnknown.Error() && (!errors.As(err, &upstream) || upstream.Status != 502) {
			t.Errorf("%#v: %+v", test.value, err)
		}
	}
}

func TestParseBody(t *testing.T) {
	for _, test := range []struct {
		pointer, body string
		want          json.Number
		err           string
	}{
		{"", "201.3600", "201.3600", ""},
		{"", "201.36\n", "201.36", ""},
		{"", `"201.36"`, "201.36", ""},
		{"", "$1,201.36\n", "1201.36", ""},
		{"", "1,201.36", "1201.36", ""},
		{"", "", "", "unknown ticker"},
		{"", "null", "", "unknown ticker"},
		{"", "N/A", "", "unknown ticker"},
		{"", "1 2", "", "the quote provider's answer has text for a price"},
		{"", "<html>1</html>", "", "the quote provider's answer has text for a price"},
		{"", `{"price":1}`, "", "the quote provider's answer has no price where QUOTE_POINTER points"},

		{"/price", `{"price":201.3600}`, "201.3600", ""},
		{"/price", `{"price":null}`, "", "unknown ticker"},
		{"/price", `{"Price":1}`, "", "unknown ticker"},
		{"/price", `[]`, "", "unknown ticker"},
		{"/price", `null`, "", "unknown ticker"},
		{"/price", `{"price":{"raw":1}}`, "", "the quote provider's answer has no price where QUOTE_POINTER points"},
		{"/price", "", "", "the quote provider's answer is not JSON"},
		{"/price", `{"price":1`, "", "the quote provider's answer is not JSON"},
		{"/price", `{"price":1} x`, "", "the quote provider's answer is not JSON"},
		{"/price", `{"price":1}{"price":2}`, "", "the quote provider's answer is not JSON"},
		{"/price", "<html>1</html>", "", "the quote provider's answer is not JSON"},
		{"/price", strings.Repeat(`{"price":`, 100_000), "", "the quote provider's answer is not JSON"},
	} {
		pointer, err := ParsePointer(test.pointer)
		if err != nil {
			t.Fatal(err)
		}
		got, err := (&Upstream{pointer: pointer}).parse([]byte(test.body))
		if got != test.want || err == nil && test.err != "" || err != nil && err.Error() != test.err {
			t.Errorf("%.30q at %q: %q, %v, want %q, %s", test.body, test.pointer, got, err, test.want, cmp.Or(test.err, "no error"))
		}
	}
}

// What the cache keeps of an answer is the price, not the answer around it.
func TestKeptPriceIsSmall(t *testing.T) {
	body := []byte(strings.Repeat(" ", maxBody-1) + "$1")
	heap := func() uint64 {
		var stats runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&stats)
		return stats.HeapAlloc
	}
	before := heap()
	var kept [2]json.Number
	for i := range kept {
		var err error
		if kept[i], err = new(Upstream).parse(body); kept[i] != "1" || err != nil {
			t.Fatal(kept[i], err)
		}
	}
	if after := heap(); after > before+maxBody {
		t.Errorf("%d prices keep %d bytes", len(kept), after-before)
	}
	runtime.KeepAlive(kept)
	runtime.KeepAlive(body)
}
