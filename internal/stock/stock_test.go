package stock

import (
	"context"
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"net/url"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/knative-sample/rest-api-go/internal/quote"
)

var v1 = Revision{Resource: "v1", Name: "stock-service-example-v1"}

const browser = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"

// source answers as the function does.
type source func(ticker string) (quote.Quote, error)

func (s source) Quote(ticker string) (quote.Quote, error) { return s(ticker) }

func ask(handler http.Handler, method, target, accept string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, target, nil)
	r.Header.Set("Accept", accept)
	w := httptest.NewRecorder()
	handler.ServeHTTP(w, r)
	return w
}

// check compares an answer of v1 as text and as JSON, where fields are those
// after resource and revision, and its headers besides those that all have.
func check(t *testing.T, handler http.Handler, method, target string, status int, text, fields string, headers ...string) {
	t.Helper()
	for _, form := range []struct{ accept, contentType, body string }{
		{"*/*", "text/plain; charset=utf-8", text},
		{JSON, JSON, `{"resource":"v1","revision":"stock-service-example-v1",` + fields + "}\n"},
	} {
		w := ask(handler, method, target, form.accept)
		want := http.Header{
			"Content-Type":           {form.contentType},
			"Vary":                   {"Accept"},
			"X-Content-Type-Options": {"nosniff"},
			"X-Revision":             {"stock-service-example-v1"},
		}
		for i := 0; i < len(headers); i += 2 {
			want.Set(headers[i], headers[i+1])
		}
		if w.Code != status || w.Body.String() != form.body || !reflect.DeepEqual(w.Header(), want) {
			t.Errorf("%s %s: %d %q %v,\nwant %d %q %v", method, target, w.Code, w.Body, w.Header(), status, form.body, want)
		}
	}
}

func TestRoutes(t *testing.T) {
	handler := New(v1, quote.Sample{})
	type answer struct {
		status       int
		text, fields string
		headers      []string
	}
	message := func(text, end string) answer {
		return answer{200, text + end + "\n", `"message":"` + text + `"`, nil}
	}
	failure := func(status int, text string) answer {
		return answer{status, "v1 " + text + "\n", `"error":"` + text + `"`, nil}
	}
	unknown := answer{404, "v1 not found for ticker : ^GSPC \n", `"ticker":"^GSPC","error":"not found"`, nil}
	index := message("Welcome to the v1 app!", " ")
	v1Index := message("v1 ticker not found!, require /v1/{ticker}", "")
	stockIndex := message("v1 ticker not found!, require /stock/{ticker}", "")
	sample := []string{"X-Quote-Source", "sample"}
	price := answer{200, "v1 price for ticker AAPL is 201.36\n", `"ticker":"AAPL","price":201.36,"source":"sample","day":"2025-05-22"`, sample}
	noPath := failure(404, "no such path, require /, /v1/{ticker} or /stock/{ticker}")

	for target, want := range map[string]answer{
		"/":           index,
		"/v1":         v1Index,
		"/stock/":     stockIndex,
		"/v1/%41aPl":  price,
		"/stock/aapl": price,
		"/v1/%5EGSPC": unknown,
		"/v1/A%2FB":   failure(400, "a ticker is 1 to 15 letters, digits and . - ^ =, and not punctuation alone"),
		// A client whose base URL ends in a slash sends two.
		"///stock/aapl":  price,
		"//stock?x=//y":  stockIndex,
		"/stock//AAPL":   noPath,
		"/stock/AAPL/":   noPath,
		"/v1/../stock":   noPath,
		"/%2Fstock/AAPL": noPath,
		"/v2/AAPL":       noPath, // another revision's
		"/V1/AAPL":       noPath,
		// A request's target need not be a path.
		"http://example.com?x": index,
		"*":                    noPath,
	} {
		for _, method := range []string{"GET", "HEAD"} { // net/http drops the body of an answer to HEAD.
			check(t, handler, method, target, want.status, want.text, want.fields, want.headers...)
		}
	}
	for _, method := range []string{"POST", "PUT", "OPTIONS", "BREW", "get"} {
		for _, target := range []string{"/", "/v1/AAPL", "/nowhere"} {
			refused := failure(405, "method "+method+" not allowed, require GET or HEAD")
			check(t, handler, method, target, refused.status, refused.text, refused.fields, "Allow", "GET, HEAD")
		}
	}
}

func TestPageIsForBrowsersAtTheIndexAlone(t *testing.T) {
	handler := New(v1, quote.Sample{})
	for _, test := range []struct{ method, target, contentType string }{
		{"GET", "/", "text/html; charset=utf-8"},
		{"HEAD", "//", "text/html; charset=utf-8"},
		{"POST", "/", "text/plain; charset=utf-8"},
		{"GET", "/v1", "text/plain; charset=utf-8"},
	} {
		h := ask(handler, test.method, test.target, browser).Header()
		if h.Get("Content-Type") != test.contentType || h.Get("X-Revision") != v1.Name || h.Get("Vary") != "Accept" {
			t.Errorf("%s %s: %v, want %s", test.method, test.target, h, test.contentType)
		}
	}
}

func TestAnyResourceRoutes(t *testing.T) {
	for _, resource := range []string{"NOT SPECIFIED", "{x...}", "...", "GET {x}", "日本", "a%2Fb", "%2e%2e", "stock", "v1?x=y", "#", "a+b", `"`} {
		handler := New(Revision{Resource: resource}, quote.Sample{})
		for target, want := range map[string]string{
			"/":                                   "Welcome to the " + resource + " app! \n",
			"/" + url.PathEscape(resource):        resource + " ticker not found!, require /" + resource + "/{ticker}\n",
			"/" + url.PathEscape(resource) + "/x": resource + " not found for ticker : X \n",
			"/stock/AAPL":                         resource + " price for ticker AAPL is 201.36\n",
			"/x/AAPL":                             resource + " no such path, require /, /" + resource + "/{ticker} or /stock/{ticker}\n",
		} {
			if got := ask(handler, "GET", target, Text).Body.String(); got != want {
				t.Errorf("%s: %q, want %q", target, got, want)
			}
		}
	}
}

func TestUpstream(t *testing.T) {
	handler := New(v1, source(func(string) (quote.Quote, error) {
		return quote.Quote{Price: "201.3600", Origin: "upstream"}, nil
	}))
	check(t, handler, "GET", "/v1/x", 200, "v1 price for ticker X is 201.3600\n",
		`"ticker":"X","price":201.3600,"source":"upstream"`, "X-Quote-Source", "upstream")
	limited := &quote.UpstreamError{Status: 503, RetryAfter: "7", Reason: "the provider's limit is reached"}
	handler = New(v1, source(func(string) (quote.Quote, error) {
		return quote.Quote{}, fmt.Errorf("%w: dial tcp 127.0.0.1:1", limited) // which is for the log alone
	}))
	const reason = "price for ticker AAPL is not available: the provider's limit is reached"
	check(t, handler, "GET", "/v1/aapl", 503, "v1 "+reason+"\n", `"ticker":"AAPL","error":"`+reason+`"`, "Retry-After", "7")
}

func TestPod(t *testing.T) {
	rev := v1
	rev.Pod = "stock-service-example-v1-deployment-7d9f8-abcde"
	w := ask(New(rev, quote.Sample{}), "GET", "/", JSON)
	if !strings.Contains(w.Body.String(), `"pod":"`+rev.Pod+`"`) || w.Header().Get("X-Pod") != rev.Pod {
		t.Errorf("%s, X-Pod: %s", w.Body, w.Header().Get("X-Pod"))
	}
}

func TestPreferred(t *testing.T) {
	for accept, want := range map[string]string{
		"*/*":                                Text, // curl
		browser:                              HTML,
		"application/json":                   JSON,
		"Application/JSON; charset=utf-8":    JSON,
		"application/json, text/plain, */*":  JSON, // axios
		"text/plain;q=0.5\napplication/json": JSON, // two lines of headers
		"text/plain;format=fixed;q=0.4, text/plain;q=0.7, application/json;q=0.5": Text,
		"application/json;q=0":    Text,
		"application/json;q=1.1":  Text,
		"application/json;q=high": Text,
		"/, application/json":     JSON,
	} {
		if got := Preferred(http.Header{"Accept": strings.Split(accept, "\n")}, Text, JSON, HTML); got != want {
			t.Errorf("Accept: %q: %s, want %s", accept, got, want)
		}
	}
}

func TestFault(t *testing.T) {
	slow, failing, both := Fault{Latency: 3 * time.Second}, Fault{Rate: 1}, Fault{Latency: 3 * time.Second, Rate: 1}
	const agent, accept = "User-Agent", "Accept"
	for _, test := range []struct {
		name           string
		fault          Fault
		method, target string
		header, value  string
		leaves         time.Duration // the client, if not 0
		status         int
		took           time.Duration
	}{
		{"it waits and then fails", both, "GET", "/nowhere", agent, "curl/8", 0, 500, 3 * time.Second},
		// A client that has closed its half of the connection looks like one
		// that has left, and still reads.
		{"the client leaves", slow, "GET", "/", agent, "nc", time.Second, 200, time.Second},
		{"the client leaves and might have failed", both, "GET", "/", agent, "nc", time.Second, 500, time.Second},
		{"a probe is spared", both, "GET", "/", agent, "kube-probe/1.35", 0, 200, 0},
		{"what only names one is not", both, "GET", "/", agent, "curl kube-probe/1.35", 0, 500, 3 * time.Second},
		{"the page is spared", both, "GET", "//", accept, browser, 0, 200, 0},
		{"what the page asks for is not", both, "GET", "/", accept, JSON, 0, 500, 3 * time.Second},
	} {
		synctest.Test(t, func(t *testing.T) {
			r := httptest.NewRequest(test.method, test.target, nil)
			r.Header.Set(test.header, test.value)
			if test.leaves > 0 {
				ctx, cancel := context.WithTimeout(t.Context(), test.leaves)
				defer cancel()
				r = r.WithContext(ctx)
			}
			rev := v1
			rev.Fault = test.fault
			begin, w := time.Now(), httptest.NewRecorder()
			New(rev, quote.Sample{}).ServeHTTP(w, r)
			if took := time.Since(begin); w.Code != test.status || took != test.took {
				t.Errorf("%s: %d after %v, want %d after %v", test.name, w.Code, took, test.status, test.took)
			}
		})
	}
	bad := v1
	bad.Fault = failing
	check(t, New(bad, quote.Sample{}), "GET", "/v1/AAPL", 500, "v1 failed on purpose (ERROR_RATE)\n", `"error":"failed on purpose (ERROR_RATE)"`)
}

func TestRate(t *testing.T) {
	const requests = 10_000
	r := httptest.NewRequest("GET", "/", nil)
	for _, rate := range []float64{0, 0.001, 0.5, 1} {
		failed := 0
		for range requests {
			if (Fault{Rate: rate}).inject(httptest.NewRecorder(), r) {
				failed++
			}
		}
		// The draw has no seed: five standard deviations fail once in a million
		// runs. A rate of 0 or 1 has none.
		deviation := math.Sqrt(requests * rate * (1 - rate))
		if math.Abs(float64(failed)-requests*rate) > 5*deviation {
			t.Errorf("rate %v: %d of %d failed", rate, failed, requests)
		}
	}
}
