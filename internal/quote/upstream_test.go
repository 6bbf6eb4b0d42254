package quote

import (
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
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
