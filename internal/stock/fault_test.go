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

func TestLatency(t *testing.T) {
	for _, test := range []struct {
		name      string
		fault     Fault
		userAgent string
		leaves    time.Duration // the client, if not 0
		fails     bool
		took      time.Duration
	}{
		{name: "none"},
		{name: "every answer waits", fault: Fault{Latency: 3 * time.Second}, userAgent: "curl/8", took: 3 * time.Second},
		{name: "and then fails", fault: Fault{Latency: 3 * time.Second, Rate: 1}, fails: true, took: 3 * time.Second},
		{name: "the client leaves", fault: Fault{Latency: 3 * time.Second}, leaves: time.Second, took: time.Second},
		{name: "and might have failed", fault: Fault{Latency: 3 * time.Second, Rate: 1}, leaves: time.Second, fails: true, took: time.Second},
		{name: "a probe is spared", fault: Fault{Latency: 3 * time.Second, Rate: 1}, userAgent: "kube-probe/1.35"},
		{name: "what only names one is not", fault: Fault{Rate: 1}, userAgent: "curl kube-probe/1.35", fails: true},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := httptest.NewRequest("GET", "/", nil)
				r.Header.Set("User-Agent", test.userAgent)
				if test.leaves > 0 {
					ctx, cancel := context.WithTimeout(t.Context(), test.leaves)
					defer cancel()
					r = r.WithContext(ctx)
				}
				start := time.Now()
				fails := test.fault.inject(r)
				if took := time.Since(start); fails != test.fails || took != test.took {
					t.Errorf("fails: %t after %v, want %t after %v", fails, took, test.fails, test.took)
				}
			})
		})
	}
}

func TestRate(t *testing.T) {
	const requests = 10_000
	r := httptest.NewRequest("GET", "/", nil)
	for _, rate := range []float64{0, 0.001, 0.5, 1} {
		failed := 0
		for range requests {
			if (Fault{Rate: rate}).inject(r) {
				failed++
			}
		}
		// the draw has no seed: five standard deviations fail once in a
		// million runs; a rate of 0 or 1 has none
		deviation := math.Sqrt(requests * rate * (1 - rate))
		if math.Abs(float64(failed)-requests*rate) > 5*deviation {
			t.Errorf("rate %v: %d of %d failed", rate, failed, requests)
		}
	}
}

func TestFault(t *testing.T) {
	bad := v1
	bad.Fault = Fault{Latency: time.Second, Rate: 1}
	handler := New(bad, quote.Sample{})
	for _, path := range []string{"/", "/v1", "/v1/AAPL", "/nowhere"} {
		for accept, want := range map[string]string{
			"":   "v1 failed on purpose (ERROR_RATE)\n",
			JSON: `{"resource":"v1","revision":"stock-service-example-v1","error":"failed on purpose (ERROR_RATE)"}` + "\n",
		} {
			synctest.Test(t, func(t *testing.T) {
				req := httptest.NewRequest("GET", path, nil)
				req.Header.Set("Accept", accept)
				start, w := time.Now(), httptest.NewRecorder()
				handler.ServeHTTP(w, req)
				if took := time.Since(start); took != time.Second || w.Code != 500 || w.Body.String() != want {
					t.Errorf("%s: %d %q after %v", path, w.Code, w.Body, took)
				}
				checkHeaders(t, w.Header())
			})
		}
	}

	for _, test := range []struct {
		name, method, path, header, value string
		status                            int
		took                              time.Duration
	}{
		{"a probe", "GET", "/", "User-Agent", "kube-probe/1.35", 200, 0},
		{"the page", "GET", "/", "Accept", browser, 200, 0},
		{"the page, with two slashes", "GET", "//", "Accept", browser, 200, 0},
		{"the page's head", "HEAD", "/", "Accept", browser, 200, 0},
		// what the page asks for, and what only asks for it
		{"the page's requests", "GET", "/", "Accept", JSON, 500, time.Second},
		{"another method", "POST", "/", "Accept", browser, 500, time.Second},
		{"another path", "GET", "/v1", "Accept", browser, 500, time.Second},
	} {
		synctest.Test(t, func(t *testing.T) {
			req := httptest.NewRequest(test.method, test.path, nil)
			req.URL.Path = test.path
			req.Header.Set(test.header, test.value)
			start, w := time.Now(), httptest.NewRecorder()
			handler.ServeHTTP(w, req)
			if took := time.Since(start); w.Code != test.status || took != test.took {
				t.Errorf("%s: %d after %v, want %d after %v", test.name, w.Code, took, test.status, test.took)
			}
		})
	}
}
