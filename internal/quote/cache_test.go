package quote

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

var errBroken = &UpstreamError{Status: 502}

// newCache returns that of an Upstream, with another fetch.
func newCache(ttl time.Duration, fetch func(ticker string) (Quote, error)) *cache {
	c := &NewUpstream(Template{}, nil, ttl, slog.New(slog.NewTextHandler(io.Discard, nil))).cache
	c.fetch = fetch
	return c
}

func TestOneFetchForMany(t *testing.T) {
	for _, ttl := range []time.Duration{0, time.Minute} {
		for _, err := range []error{nil, ErrUnknown, errBroken} {
			synctest.Test(t, func(t *testing.T) {
				var fetches atomic.Int32
				c := newCache(ttl, func(ticker string) (Quote, error) {
					fetches.Add(1)
					time.Sleep(3 * time.Second)
					return Quote{Price: "1.50", Origin: ticker}, err
				})
				var wg sync.WaitGroup
				for i := range 100 {
					wg.Go(func() {
						time.Sleep(time.Duration(i) * 10 * time.Millisecond)
						q, got := c.Quote("A")
						if want := (Quote{Price: "1.50", Origin: "A"}); q != want || got != err {
							t.Errorf("%+v, %v, want %v", q, got, err)
						}
					})
				}
				wg.Wait()
				if n := fetches.Load(); n != 1 {
					t.Errorf("%d fetches with a TTL of %v and %v", n, ttl, err)
				}
			})
		}
	}
}

func TestAnswerIsKeptForItsTTL(t *testing.T) {
	for _, test := range []struct {
		name string
		err  error
		ttl  time.Duration
		want []int // fetches after asking at 0, 9.999 and 10 s after the answer
	}{
		{"a price", nil, 10 * time.Second, []int{1, 1, 2}},
		{"an unknown ticker", ErrUnknown, 10 * time.Second, []int{1, 1, 2}},
		{"a failure", errBroken, 10 * time.Second, []int{2, 3, 4}},
		{"a price, TTL 0", nil, 0, []int{2, 3, 4}},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				fetches := 0
				c := newCache(test.ttl, func(string) (Quote, error) {
					fetches++
					return Quote{}, test.err
				})
				ask := func() {
					if _, err := c.Quote("A"); err != test.err {
						t.Errorf("%v, want %v", err, test.err)
					}
				}
				ask()
				answered := time.Now()
				for i, at := range []time.Duration{0, 9999 * time.Millisecond, 10 * time.Second} {
					time.Sleep(time.Until(answered.Add(at)))
					ask()
					if fetches != test.want[i] {
						t.Errorf("%d fetches at %v, want %d", fetches, at, test.want[i])
					}
				}
			})
		})
	}
}

// Whatever is asked for, and however much of it at once, the cache does not grow
// beyond its bound, and a price stays until it expires.
func TestFloodPushesNoPriceOut(t *testing.T) {
	const many = 3 * cacheSize
	for _, test := range []struct {
		name   string
		flood  error // of each ticker but AAPL
		atOnce bool
		kept   int // tickers besides AAPL at the end, at most
	}{
		{"unknown tickers", ErrUnknown, false, cacheSize - 1},
		{"unknown tickers, all at once", ErrUnknown, true, cacheSize - 1},
		{"failures", errBroken, false, 0},
		{"failures, all at once", errBroken, true, 0},
		{"prices", nil, false, cacheSize - 1},
		{"prices, all at once", nil, true, cacheSize - 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var fetches atomic.Int32 // of AAPL
				c := newCache(time.Hour, func(ticker string) (Quote, error) {
					if ticker == "AAPL" {
						fetches.Add(1)
						return Quote{Price: "1"}, nil
					}
					time.Sleep(time.Millisecond)
					return Quote{Price: "2"}, test.flood
				})
				size := func() int {
					c.mu.Lock()
					defer c.mu.Unlock()
					return len(c.kept) + len(c.underWay)
				}
				c.Quote("AAPL")
				var wg sync.WaitGroup
				for i := range many {
					ask := func() {
						_, err := c.Quote(fmt.Sprintf("T%d", i))
						if err != test.flood && !(test.atOnce && isFull(err)) {
							t.Errorf("%v, want %v", err, test.flood)
						}
						if n := size(); n > 2*cacheSize {
							t.Errorf("%d entries", n)
						}
					}
					if test.atOnce {
						wg.Go(ask)
					} else {
						ask()
					}
				}
				wg.Wait()
				if q, err := c.Quote("AAPL"); q.Price != "1" || err != nil || fetches.Load() != 1 {
					t.Errorf("AAPL: %+v, %v after %d fetches", q, err, fetches.Load())
				}
				if n := size() - 1; n > test.kept || len(c.underWay) > 0 {
					t.Errorf("%d more tickers are kept, and %d are being fetched", n, len(c.underWay))
				}

				time.Sleep(time.Hour) // what has expired makes room for new prices
				before := fetches.Load()
				for range 2 {
					c.Quote("AAPL")
				}
				if n := fetches.Load() - before; n != 1 {
					t.Errorf("afterwards, %d fetches of AAPL for two who ask", n)
				}
			})
		})
	}
}

func isFull(err error) bool {
	var upstream *UpstreamError
	return errors.As(err, &upstream) && *upstream == UpstreamError{Status: 503, RetryAfter: "1", Reason: "too many tickers are being fetched"}
}

// A new price is kept although the cache is full of unknown tickers, or of
// prices that have expired.
func TestNewPriceFindsRoom(t *testing.T) {
	for _, others := range []error{ErrUnknown, nil} {
		synctest.Test(t, func(t *testing.T) {
			fetches := 0 // of AAPL
			c := newCache(time.Minute, func(ticker string) (Quote, error) {
				if ticker == "AAPL" {
					fetches++
					return Quote{Price: "1"}, nil
				}
				return Quote{}, others
			})
			for i := range cacheSize {
				c.Quote(fmt.Sprintf("T%d", i))
			}
			if others == nil {
				time.Sleep(time.Minute)
			}
			for range 2 {
				c.Quote("AAPL")
			}
			if fetches != 1 {
				t.Errorf("%d fetches for two who ask, among %v", fetches, others)
			}
		})
	}
}

// While as many tickers are being fetched as may be, their fetches are shared,
// and other tickers are refused.
func TestTooManyFetches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCache(time.Hour, func(ticker string) (Quote, error) {
			time.Sleep(3 * time.Second)
			return Quote{Origin: ticker}, nil
		})
		var wg sync.WaitGroup
		for i := range 2 * cacheSize {
			wg.Go(func() {
				ticker := fmt.Sprintf("T%d", i%cacheSize)
				if q, err := c.Quote(ticker); q.Origin != ticker || err != nil {
					t.Errorf("%s: %+v, %v", ticker, q, err)
				}
			})
		}
		synctest.Wait()
		start := time.Now()
		if _, err := c.Quote("ONEMORE"); !isFull(err) || time.Since(start) != 0 {
			t.Errorf("%+v after %v", err, time.Since(start))
		}
		wg.Wait()
		if q, err := c.Quote("ONEMORE"); q.Origin != "ONEMORE" || err != nil {
			t.Errorf("afterwards: %+v, %v", q, err)
		}
	})
}
