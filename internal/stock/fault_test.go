package stock

import (
	"context"
	"errors"
	"math"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"
)

func TestLatency(t *testing.T) {
	for _, test := range []struct {
		name      string
		fault     Fault
		userAgent string
		leaves    time.Duration // the client, if not 0
		err       error
		took      time.Duration
	}{
		{name: "none"},
		{name: "every answer waits", fault: Fault{Latency: 3 * time.Second}, userAgent: "curl/8", took: 3 * time.Second},
		{name: "and then fails", fault: Fault{Latency: 3 * time.Second, Rate: 1}, err: ErrInjected, took: 3 * time.Second},
		{name: "the client leaves", fault: Fault{Latency: 3 * time.Second}, leaves: time.Second, took: time.Second},
		{name: "and might have failed", fault: Fault{Latency: 3 * time.Second, Rate: 1}, leaves: time.Second, err: ErrInjected, took: time.Second},
		{name: "a probe is spared", fault: Fault{Latency: 3 * time.Second, Rate: 1}, userAgent: "kube-probe/1.35"},
		{name: "what only names one is not", fault: Fault{Rate: 1}, userAgent: "curl kube-probe/1.35", err: ErrInjected},
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
				err := test.fault.Inject(r)
				if took := time.Since(start); !errors.Is(err, test.err) || took != test.took {
					t.Errorf("%v after %v, want %v after %v", err, took, test.err, test.took)
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
			if err := (Fault{Rate: rate}).Inject(r); err == ErrInjected {
				failed++
			} else if err != nil {
				t.Fatal(err)
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
