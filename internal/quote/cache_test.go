package quote

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

var errBroken = &UpstreamError{Status: 502}

// Many share a fetch of 3 s. Its answer is kept for the TTL, and a failure is not.
func TestOneFetchForMany(t *testing.T) {
	for _, test := range []struct {
		err  error
		ttl  time.Duration
		want string // fetches after all, and after asking again at once, just before 10 s and then
	}{
		{nil, 10 * time.Second, "[1 1 1 2]"},
		{ErrUnknown, 10 * time.Second, "[1 1 1 2]"},
		{errBroken, 10 * time.Second, "[1 2 3 4]"},
		{nil, 0, "[1 2 3 4]"},
	} {
		synctest.Test(t, func(t *testing.T) {
			var fetches atomic.Int32
			var clients sync.WaitGroup
			c := &NewUpstream(Template{}, nil, test.ttl, nil).cache
			ask := func() {
				q, err := c.get("A", func(ticker string) (Quote, error) {
					if fetches.Add(1) == 1 {
						time.Sleep(3 * time.Second)
					}
					return Quote{Price: "1.50", Origin: ticker}, test.err
				})
				if want := (Quote{Price: "1.50", Origin: "A"}); q != want || err != test.err {
					t.Errorf("%+v, %v, want %v", q, err, test.err)
				}
			}
			for i := range 100 {
				clients.Go(func() {
					time.Sleep(time.Duration(i) * 10 * time.Millisecond)
					ask()
				})
			}
			clients.Wait()
			answered := time.Now()
			got := []int32{fetches.Load()}
			for _, at := range []time.Duration{0, 10*time.Second - 1, 10 * time.Second} {
				time.Sleep(time.Until(answered.Add(at)))
				ask()
				got = append(got, fetches.Load())
			}
			if fmt.Sprint(got) != test.want {
				t.Errorf("%v and a TTL of %v: %d fetches, want %s", test.err, test.ttl, got, test.want)
			}
		})
	}
}

// Whatever is asked for, and however much of it at once, the cache does not grow
// beyond its bound, a price stays until it expires, and a new one finds room.
func TestFlood(t *testing.T) {
	full := UpstreamError{Status: 503, RetryAfter: "1", Reason: "too many tickers are being fetched"}
	for _, flood := range []error{nil, ErrUnknown, errBroken} {
		synctest.Test(t, func(t *testing.T) {
			c := &NewUpstream(Template{}, nil, time.Hour, nil).cache
			fetches := func(ticker string) (n int) { // of two who ask
				for range 2 {
					c.get(ticker, func(string) (Quote, error) { n++; return Quote{Price: "1"}, nil })
				}
				return n
			}
			fetches("AAPL")
			var refused atomic.Int32
			var clients sync.WaitGroup
			for i := range 2 * cacheSize {
				clients.Go(func() {
					_, err := c.get(fmt.Sprint(i), func(string) (Quote, error) {
						time.Sleep(time.Millisecond)
						return Quote{}, flood
					})
					var failure *UpstreamError
					if errors.As(err, &failure) && *failure == full {
						refused.Add(1)
					} else if err != flood {
						t.Errorf("%v, want %v", err, flood)
					}
				})
			}
			clients.Wait()
			synctest.Wait() // An answer is there before it is settled.
			if n := refused.Load(); n != cacheSize || len(c.kept) > cacheSize || len(c.underWay) > 0 {
				t.Errorf("%d were refused; %d are kept, and %d being fetched", n, len(c.kept), len(c.underWay))
			}
			if n := fetches("AAPL"); n != 0 {
				t.Errorf("AAPL was pushed out by %v", flood)
			}
			if n := fetches("NEW"); (n == 1) != (flood != nil) {
				t.Errorf("%d fetches for two who ask for a new price, among %v", n, flood)
			}
			time.Sleep(time.Hour)
			if n := fetches("LATER"); n != 1 {
				t.Errorf("%d fetches for two who ask, after all others have expired", n)
			}
		})
	}
}
