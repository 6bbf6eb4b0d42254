package stock

import (
	"context"
	"math"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	"github.com/knative-sample/rest-api-go/internal/quote"
)

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
