package stock

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/knative-sample/rest-api-go/internal/quote"
)

var v1 = Revision{Resource: "v1", Name: "stock-service-example-v1"}

const browser = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"

// source answers as the function does.
type source func(ticker string) (quote.Quote, error)

func (s source) Quote(ticker string) (quote.Quote, error) { return s(ticker) }

// ask sends one request, follows no redirect, and returns the answer with its
// body.
func ask(t *testing.T, method, url, accept string) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequest(method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	if accept != "" {
		req.Header.Set("Accept", accept)
	}
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(body)
}

// checkHeaders checks those that every answer of v1 has.
func checkHeaders(t *testing.T, header http.Header) {
	t.Helper()
	for name, want := range map[string]string{
		"X-Revision":             "stock-service-example-v1",
		"X-Content-Type-Options": "nosniff",
		"Vary":                   "Accept",
	} {
		if got := header.Values(name); len(got) != 1 || got[0] != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}

func TestRoutes(t *testing.T) {
	server := httptest.NewServer(New(v1, quote.Sample{}))
	defer server.Close()

	const (
		noPath    = "v1 no such path, require /, /v1/{ticker} or /stock/{ticker}\n"
		noTicker  = "v1 a ticker is 1 to 15 letters, digits and . - ^ =\n"
		price     = `"ticker":"AAPL","price":201.36,"source":"sample","day":"2025-05-22"`
		noPathJS  = `"error":"no such path, require /, /v1/{ticker} or /stock/{ticker}"`
		noTickerJ = `"error":"a ticker is 1 to 15 letters, digits and . - ^ ="`
	)
	for _, test := range []struct {
		path   string
		status int
		text   string
		json   string // after resource and revision
	}{
		{"/", 200, "Welcome to the v1 app! \n", `"message":"Welcome to the v1 app!"`},
		{"/?query=is&not=read", 200, "Welcome to the v1 app! \n", `"message":"Welcome to the v1 app!"`},

		{"/v1", 200, "v1 ticker not found!, require /v1/{ticker}\n", `"message":"v1 ticker not found!, require /v1/{ticker}"`},
		{"/v1/", 200, "v1 ticker not found!, require /v1/{ticker}\n", `"message":"v1 ticker not found!, require /v1/{ticker}"`},
		{"/stock", 200, "v1 ticker not found!, require /stock/{ticker}\n", `"message":"v1 ticker not found!, require /stock/{ticker}"`},
		{"/stock/", 200, "v1 ticker not found!, require /stock/{ticker}\n", `"message":"v1 ticker not found!, require /stock/{ticker}"`},

		{"/v1/AAPL", 200, "v1 price for ticker AAPL is 201.36\n", price},
		{"/v1/aapl", 200, "v1 price for ticker AAPL is 201.36\n", price},
		{"/v1/%41aPl", 200, "v1 price for ticker AAPL is 201.36\n", price},
		{"/stock/AAPL", 200, "v1 price for ticker AAPL is 201.36\n", price},
		{"/stock/aapl", 200, "v1 price for ticker AAPL is 201.36\n", price},

		{"/v1/NOPE", 404, "v1 not found for ticker : NOPE \n", `"ticker":"NOPE","error":"not found"`},
		{"/stock/nope", 404, "v1 not found for ticker : NOPE \n", `"ticker":"NOPE","error":"not found"`},
		{"/v1/BRK.B", 404, "v1 not found for ticker : BRK.B \n", `"ticker":"BRK.B","error":"not found"`},
		{"/v1/%5EGSPC", 404, "v1 not found for ticker : ^GSPC \n", `"ticker":"^GSPC","error":"not found"`},
		{"/v1/EURUSD=X", 404, "v1 not found for ticker : EURUSD=X \n", `"ticker":"EURUSD=X","error":"not found"`},
		{"/v1/ABCDEFGHIJKLMNO", 404, "v1 not found for ticker : ABCDEFGHIJKLMNO \n", `"ticker":"ABCDEFGHIJKLMNO","error":"not found"`},

		{"/v1/ABCDEFGHIJKLMNOP", 400, noTicker, noTickerJ},
		{"/v1/A%20B", 400, noTicker, noTickerJ},
		{"/v1/A%2FB", 400, noTicker, noTickerJ},
		{"/v1/%2F", 400, noTicker, noTickerJ},
		{"/v1/%E6%97%A5%E6%9C%AC", 400, noTicker, noTickerJ},
		{"/v1/%FF", 400, noTicker, noTickerJ},
		{"/v1/%00", 400, noTicker, noTickerJ},
		{"/v1/AAPL%0A", 400, noTicker, noTickerJ},
		{"/v1/%2e%2e", 400, noTicker, noTickerJ},
		{"/v1/...", 400, noTicker, noTickerJ},
		{"/stock/A+B", 400, noTicker, noTickerJ},

		// a client whose base URL ends in a slash
		{"//", 200, "Welcome to the v1 app! \n", `"message":"Welcome to the v1 app!"`},
		{"//v1", 200, "v1 ticker not found!, require /v1/{ticker}\n", `"message":"v1 ticker not found!, require /v1/{ticker}"`},
		{"//stock/AAPL", 200, "v1 price for ticker AAPL is 201.36\n", price},
		{"///stock/aapl", 200, "v1 price for ticker AAPL is 201.36\n", price},
		{"//stock/AAPL?x=//y", 200, "v1 price for ticker AAPL is 201.36\n", price},
		// other slashes and dots are not folded
		{"/stock//", 404, noPath, noPathJS},
		{"/stock//AAPL", 404, noPath, noPathJS},
		{"/stock/AAPL/", 404, noPath, noPathJS},
		{"/v1/../stock", 404, noPath, noPathJS},
		{"/./stock", 404, noPath, noPathJS},
		{"/v1/AAPL/./", 404, noPath, noPathJS},
		{"/%2Fstock/AAPL", 404, noPath, noPathJS},

		{"/v2/AAPL", 404, noPath, noPathJS}, // another revision's
		{"/v2", 404, noPath, noPathJS},
		{"/V1/AAPL", 404, noPath, noPathJS},
		{"/v1/AAPL/x", 404, noPath, noPathJS},
		{"/v1%2F", 404, noPath, noPathJS},
		{"/v1%2FAAPL", 404, noPath, noPathJS},
		{"/favicon.ico", 404, noPath, noPathJS},
		{"/AAPL", 404, noPath, noPathJS},
	} {
		for _, answer := range []struct{ accept, contentType, body string }{
			{"", "text/plain; charset=utf-8", test.text},
			{"application/json", "application/json", `{"resource":"v1","revision":"stock-service-example-v1",` + test.json + "}\n"},
		} {
			t.Run(test.path+" "+answer.contentType, func(t *testing.T) {
				resp, body := ask(t, "GET", server.URL+test.path, answer.accept)
				if resp.StatusCode != test.status || body != answer.body {
					t.Errorf("%d %q,\nwant %d %q", resp.StatusCode, body, test.status, answer.body)
				}
				if got := resp.Header.Get("Content-Type"); got != answer.contentType {
					t.Errorf("Content-Type: %q", got)
				}
				origin := ""
				if strings.Contains(test.text, "price for") {
					origin = "sample"
				}
				if got := resp.Header.Get("X-Quote-Source"); got != origin {
					t.Errorf("X-Quote-Source: %q, want %q", got, origin)
				}
				checkHeaders(t, resp.Header)

				head, body := ask(t, "HEAD", server.URL+test.path, answer.accept)
				head.Header.Del("Date")
				resp.Header.Del("Date")
				if head.StatusCode != test.status || body != "" || !reflect.DeepEqual(head.Header, resp.Header) {
					t.Errorf("HEAD: %d %q %v,\nwant %d and %v", head.StatusCode, body, head.Header, test.status, resp.Header)
				}
			})
		}
	}
}

func TestOtherMethodsAreNotAllowed(t *testing.T) {
	server := httptest.NewServer(New(v1, quote.Sample{}))
	defer server.Close()

	for _, method := range []string{"POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "BREW", "get"} {
		for _, path := range []string{"/", "/v1", "/v1/", "/v1/AAPL", "/stock/AAPL", "/nowhere", "//"} {
			for accept, want := range map[string]string{
				"":                 "v1 method " + method + " not allowed, require GET or HEAD\n",
				"application/json": `{"resource":"v1","revision":"stock-service-example-v1","error":"method ` + method + ` not allowed, require GET or HEAD"}` + "\n",
			} {
				resp, body := ask(t, method, server.URL+path, accept)
				if resp.StatusCode != 405 || resp.Header.Get("Allow") != "GET, HEAD" || body != want {
					t.Errorf("%s %s: %d, Allow: %q, %q", method, path, resp.StatusCode, resp.Header.Get("Allow"), body)
				}
				checkHeaders(t, resp.Header)
			}
		}
	}
}

func TestPageIsForBrowsersAtTheIndexAlone(t *testing.T) {
	server := httptest.NewServer(New(v1, quote.Sample{}))
	defer server.Close()

	resp, body := ask(t, "GET", server.URL, browser)
	if got := resp.Header.Get("Content-Type"); got != "text/html; charset=utf-8" || !strings.HasPrefix(body, "<!doctype html>") {
		t.Errorf("/: %s %.30q", got, body)
	}
	checkHeaders(t, resp.Header)
	for _, path := range []string{"/v1", "/v1/AAPL", "/v1/NOPE", "/nowhere"} {
		resp, _ := ask(t, "GET", server.URL+path, browser)
		if got := resp.Header.Get("Content-Type"); got != "text/plain; charset=utf-8" {
			t.Errorf("%s: %s", path, got)
		}
	}
}

func TestAnyResourceRoutes(t *testing.T) {
	for _, resource := range []string{
		"NOT SPECIFIED", "{x}", "{x...}", "{$}", "{", "}", "...", "GET x", "GET {x}", "GET ", " ",
		"日本", "a%2Fb", "%", "%2e%2e", "stock", "v1?x=y", "#", ";", "\\", "a:b", "<b>&amp;", `"`, "\xff",
	} {
		t.Run(resource, func(t *testing.T) {
			server := httptest.NewServer(New(Revision{Resource: resource, Name: "r"}, quote.Sample{}))
			defer server.Close()

			segment := "/" + url.PathEscape(resource)
			for path, want := range map[string]string{
				"/":                resource + " " + "app! \n",
				segment:            resource + " ticker not found!, require /" + resource + "/{ticker}\n",
				segment + "/":      resource + " ticker not found!, require /" + resource + "/{ticker}\n",
				segment + "/AAPL":  resource + " price for ticker AAPL is 201.36\n",
				"/stock/AAPL":      resource + " price for ticker AAPL is 201.36\n",
				"/GET/AAPL":        resource + " no such path, require /, /" + resource + "/{ticker} or /stock/{ticker}\n",
				"/x/AAPL":          resource + " no such path, require /, /" + resource + "/{ticker} or /stock/{ticker}\n",
				segment + "/x/y/z": resource + " no such path, require /, /" + resource + "/{ticker} or /stock/{ticker}\n",
			} {
				if path == "/" {
					want = "Welcome to the " + want
				}
				if _, body := ask(t, "GET", server.URL+path, ""); body != want {
					t.Errorf("%s: %q, want %q", path, body, want)
				}
				if _, body := ask(t, "GET", server.URL+path, JSON); !json.Valid([]byte(body)) {
					t.Errorf("%s: %q", path, body)
				}
			}
		})
	}
}

func TestPriceKeepsItsDigits(t *testing.T) {
	for _, price := range []string{"201.3600", "201", "-37.63", "1e3", "0.000000000000000000001", "123456789012345678901234567890"} {
		server := httptest.NewServer(New(v1, source(func(string) (quote.Quote, error) {
			return quote.Quote{Price: json.Number(price), Origin: "upstream"}, nil
		})))
		resp, body := ask(t, "GET", server.URL+"/stock/x", "")
		if want := "v1 price for ticker X is " + price + "\n"; body != want || resp.Header.Get("X-Quote-Source") != "upstream" {
			t.Errorf("%q %v, want %q", body, resp.Header, want)
		}
		_, body = ask(t, "GET", server.URL+"/stock/x", JSON)
		if want := `{"resource":"v1","revision":"stock-service-example-v1","ticker":"X","price":` + price + `,"source":"upstream"}` + "\n"; body != want {
			t.Errorf("%q, want %q", body, want)
		}
		server.Close()
	}
}

func TestUpstreamErrors(t *testing.T) {
	for _, test := range []quote.UpstreamError{
		{Status: 502, Reason: "the provider is broken"},
		{Status: 503, Reason: "the provider's limit is reached", RetryAfter: "7"},
		{Status: 503, Reason: "the provider's limit is reached"},
		{Status: 504, Reason: "the provider is slow"},
	} {
		server := httptest.NewServer(New(v1, source(func(string) (quote.Quote, error) {
			return quote.Quote{}, fmt.Errorf("%w: dial tcp 127.0.0.1:1", &test) // which is for the log alone
		})))
		for accept, want := range map[string]string{
			"":   "v1 price for ticker AAPL is not available: " + test.Reason + "\n",
			JSON: `{"resource":"v1","revision":"stock-service-example-v1","ticker":"AAPL","error":"price for ticker AAPL is not available: ` + test.Reason + `"}` + "\n",
		} {
			resp, body := ask(t, "GET", server.URL+"/v1/aapl", accept)
			if resp.StatusCode != test.Status || resp.Header.Get("Retry-After") != test.RetryAfter || body != want {
				t.Errorf("%+v: %d, Retry-After: %q, %q", test, resp.StatusCode, resp.Header.Get("Retry-After"), body)
			}
			checkHeaders(t, resp.Header)
		}
		server.Close()
	}
}

func TestPod(t *testing.T) {
	rev := v1
	rev.Pod = "stock-service-example-v1-deployment-7d9f8-abcde"
	server := httptest.NewServer(New(rev, quote.Sample{}))
	defer server.Close()

	for _, path := range []string{"/", "/v1", "/v1/AAPL", "/v1/NOPE", "/nowhere"} {
		resp, body := ask(t, "GET", server.URL+path, JSON)
		var a struct{ Pod string }
		if err := json.Unmarshal([]byte(body), &a); err != nil || a.Pod != rev.Pod || resp.Header.Get("X-Pod") != rev.Pod {
			t.Errorf("%s: %s, X-Pod: %s", path, body, resp.Header.Get("X-Pod"))
		}
	}
	if resp, _ := ask(t, "GET", server.URL, browser); resp.Header.Get("X-Pod") != rev.Pod {
		t.Errorf("the page: X-Pod: %s", resp.Header.Get("X-Pod"))
	}

	server = httptest.NewServer(New(v1, quote.Sample{}))
	defer server.Close()
	resp, body := ask(t, "GET", server.URL, JSON)
	if _, sent := resp.Header["X-Pod"]; sent || strings.Contains(body, "pod") {
		t.Errorf("without one: %v %s", resp.Header, body)
	}
}

func FuzzTickerPath(f *testing.F) {
	for _, ticker := range []string{
		"AAPL", "aapl", "NOPE", "", ".", "..", "%2e%2e", "%2F", "A%2FB", "/", "//x", "../../", "AAPL/", "AAPL?x=y",
		"A B", "%", "%zz", "%00", "\xff", "日本", "^GSPC", "EURUSD=X", "ABCDEFGHIJKLMNOP", "AAPL#x", "{ticker}", "*",
	} {
		f.Add(ticker)
	}
	handler := New(v1, quote.Sample{})
	ticker := regexp.MustCompile(`^[A-Za-z0-9.^=-]{1,15}$`)

	f.Fuzz(func(t *testing.T, path string) {
		u, err := url.ParseRequestURI("/v1/" + path)
		if err != nil {
			return // net/http answers it
		}
		answer := func(accept string) *httptest.ResponseRecorder {
			w := httptest.NewRecorder()
			handler.ServeHTTP(w, &http.Request{Method: "GET", URL: u, Host: "localhost", Header: http.Header{"Accept": {accept}}})
			checkHeaders(t, w.Header())
			return w
		}
		w, name := answer(Text), strings.TrimPrefix(u.Path, "/v1/")
		switch text := w.Body.String(); w.Code {
		case 200:
			q, err := quote.Sample{}.Quote(strings.ToUpper(name))
			price := err == nil && text == "v1 price for ticker "+strings.ToUpper(name)+" is "+q.Price.String()+"\n"
			if index := name == "" && text == "v1 ticker not found!, require /v1/{ticker}\n"; !price && !index {
				t.Errorf("200 %q", text)
			}
		case 404:
			unknown := ticker.MatchString(name) && text == "v1 not found for ticker : "+strings.ToUpper(name)+" \n"
			if elsewhere := strings.Contains(name, "/") && strings.HasPrefix(text, "v1 no such path"); !unknown && !elsewhere {
				t.Errorf("404 %q", text)
			}
		case 400:
			if ticker.MatchString(name) && strings.Trim(name, ".^=-") != "" {
				t.Errorf("400 %q", text)
			}
		default:
			t.Errorf("%d %q", w.Code, text)
		}
		if asJSON := answer(JSON); asJSON.Code != w.Code || !json.Valid(asJSON.Body.Bytes()) {
			t.Errorf("%d %q as JSON, %d as text", asJSON.Code, asJSON.Body, w.Code)
		}
	})
}
