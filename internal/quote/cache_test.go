package quote

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// newCache is that of an Upstream, with another fetch.
func newCache(ttl time.Duration, fetch func(ticker string) (Quote, error)) *cache {
	c := &NewUpstream(Template{}, nil, ttl, slog.New(slog.DiscardHandler)).cache
	c.fetch = fetch
	return c
}

// A synctest bubble fails if a goroutine is left blocked at its end.

func TestOneFetchForMany(t *testing.T) {
	for _, ttl := range []time.Duration{0, time.Minute} {
		synctest.Test(t, func(t *testing.T) {
			var fetches atomic.Int32
			c := newCache(ttl, func(ticker string) (Quote, error) {
				fetches.Add(1)
				time.Sleep(3 * time.Second)
				return Quote{Price: "1.50", Origin: ticker}, nil
			})
			var wg sync.WaitGroup
			for i := range 100 {
				wg.Go(func() {
					time.Sleep(time.Duration(i) * 10 * time.Millisecond)
					q, err := c.Quote(t.Context(), "A")
					if want := (Quote{Price: "1.50", Origin: "A"}); q != want || err != nil {
						t.Errorf("%+v, %v", q, err)
					}
				})
			}
			wg.Wait()
			if n := fetches.Load(); n != 1 {
				t.Errorf("%d fetches with a TTL of %v", n, ttl)
			}
		})
	}
}

func TestAnswerIsKeptForItsTTL(t *testing.T) {
	broken := &UpstreamError{Status: 502}
	for _, test := range []struct {
		name string
		err  error
		ttl  time.Duration
		want []int32 // fetches after asking at 0, 9.999 and 10 s after the answer
	}{
		{"a price", nil, 10 * time.Second, []int32{1, 1, 2}},
		{"an unknown ticker", ErrUnknown, 10 * time.Second, []int32{1, 1, 2}},
		{"a failure", broken, 10 * time.Second, []int32{2, 3, 4}},
		{"a price, TTL 0", nil, 0, []int32{2, 3, 4}},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var fetches atomic.Int32
				c := newCache(test.ttl, func(string) (Quote, error) {
					fetches.Add(1)
					return Quote{}, test.err
				})
				ask := func() {
					if _, err := c.Quote(t.Context(), "A"); err != test.err {
						t.Errorf("%v, want %v", err, test.err)
					}
				}
				ask()
				answered := time.Now()
				for i, at := range []time.Duration{0, 9999 * time.Millisecond, 10 * time.Second} {
					time.Sleep(time.Until(answered.Add(at)))
					ask()
					if n := fetches.Load(); n != test.want[i] {
						t.Errorf("%d fetches at %v, want %d", n, at, test.want[i])
					}
				}
			})
		})
	}
}

func TestTickersDoNotShare(t *testing.T) {
	c := newCache(time.Minute, func(ticker string) (Quote, error) { return Quote{Origin: ticker}, nil })
	for range 2 {
		for _, ticker := range []string{"A", "B"} {
			if q, err := c.Quote(t.Context(), ticker); q.Origin != ticker || err != nil {
				t.Errorf("%s: %+v, %v", ticker, q, err)
			}
		}
	}
}

func TestClientThatLeavesCancelsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var fetches atomic.Int32
		c := newCache(time.Minute, func(string) (Quote, error) {
			fetches.Add(1)
			time.Sleep(3 * time.Second)
			return Quote{Price: "1"}, nil
		})
		start := time.Now()
		var wg sync.WaitGroup
		wg.Go(func() { // it came first: the fetch is its own
			ctx, leave := context.WithTimeout(t.Context(), time.Second)
			defer leave()
			_, err := c.Quote(ctx, "A")
			if took := time.Since(start); err != context.DeadlineExceeded || took != time.Second {
				t.Errorf("the one that leaves: %v after %v", err, took)
			}
		})
		for range 2 {
			time.Sleep(500 * time.Millisecond)
			wg.Go(func() {
				q, err := c.Quote(t.Context(), "A")
				if took := time.Since(start); q.Price != "1" || err != nil || took != 3*time.Second {
					t.Errorf("one that stays: %+v, %v after %v", q, err, took)
				}
			})
		}
		wg.Wait()
		if n := fetches.Load(); n != 1 {
			t.Errorf("%d fetches", n)
		}
	})
}

func TestCacheIsBounded(t *testing.T) {
	for _, err := range []error{nil, ErrUnknown, &UpstreamError{Status: 502}} {
		c := newCache(time.Hour, func(string) (Quote, error) { return Quote{}, err })
		for i := range 10 * cacheSize {
			if _, got := c.Quote(t.Context(), fmt.Sprintf("T%d", i)); got != err {
				t.Fatal(got)
			}
			if n := len(c.entries); n > cacheSize {
				t.Fatalf("%d entries", n)
			}
		}
	}
}

// What was asked for lately, and a price, outlives many unknown tickers.
func TestCacheForgetsWhatNobodyAsksFor(t *testing.T) {
	const many = 8 * cacheSize
	for _, test := range []struct {
		name           string
		others         error // for each other ticker
		err            error // for AAPL
		asked          int   // AAPL again after so many others, or never
		atOnce, forgot bool
	}{
		{name: "a price among unknown tickers", others: ErrUnknown},
		{name: "a price among unknown tickers, all at once", others: ErrUnknown, atOnce: true},
		{name: "a price among failures", others: &UpstreamError{Status: 502}},
		{name: "a price that is asked for, among prices", asked: cacheSize - 1},
		{name: "a price that is not asked for, among prices", forgot: true},
		{name: "a price that is asked for too late, among prices", asked: cacheSize, forgot: true},
		{name: "an unknown ticker that is asked for, among unknown ones", others: ErrUnknown, err: ErrUnknown, asked: cacheSize - 1},
		{name: "an unknown ticker that is not asked for, among unknown ones", others: ErrUnknown, err: ErrUnknown, forgot: true},
		{name: "an unknown ticker that is asked for, among prices", err: ErrUnknown, asked: cacheSize / 2, forgot: true},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var fetches atomic.Int32 // of AAPL
				c := newCache(time.Hour, func(ticker string) (Quote, error) {
					if ticker == "AAPL" {
						fetches.Add(1)
						return Quote{Price: "1"}, test.err
					}
					time.Sleep(time.Millisecond)
					return Quote{Price: "2"}, test.others
				})
				ask := func(ticker string, want error) {
					if _, err := c.Quote(t.Context(), ticker); err != want {
						t.Errorf("%s: %v, want %v", ticker, err, want)
					}
				}
				ask("AAPL", test.err)
				var wg sync.WaitGroup
				for i := range many {
					if test.asked > 0 && i%test.asked == test.asked-1 {
						ask("AAPL", test.err)
					}
					if test.atOnce {
						wg.Go(func() { c.Quote(t.Context(), fmt.Sprintf("T%d", i)) }) // most are refused
						continue
					}
					ask(fmt.Sprintf("T%d", i), test.others)
				}
				wg.Wait()
				ask("AAPL", test.err)
				if n := fetches.Load(); n > 1 != test.forgot {
					t.Errorf("%d fetches of AAPL", n)
				}
				if n := len(c.entries); n > cacheSize || n != c.prices.Len()+c.unknown.Len() || c.underWay != 0 {
					t.Errorf("%d entries, %d prices, %d unknown, %d under way", n, c.prices.Len(), c.unknown.Len(), c.underWay)
				}
			})
		})
	}
}

func TestCacheFullOfFetches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCache(time.Hour, func(ticker string) (Quote, error) {
			time.Sleep(3 * time.Second)
			return Quote{Origin: ticker}, nil
		})
		var wg sync.WaitGroup
		for i := range 2 * cacheSize { // the second half finds it full, and shares
			wg.Go(func() {
				ticker := fmt.Sprintf("T%d", i%cacheSize)
				if q, err := c.Quote(t.Context(), ticker); q.Origin != ticker || err != nil {
					t.Errorf("%s: %+v, %v", ticker, q, err)
				}
			})
		}
		synctest.Wait()
		start := time.Now()
		_, err := c.Quote(t.Context(), "ONEMORE")
		var upstream *UpstreamError
		if !errors.As(err, &upstream) || upstream.Status != 503 || upstream.RetryAfter != "1" || time.Since(start) != 0 {
			t.Errorf("%+v after %v", err, time.Since(start))
		}
		wg.Wait()
		if q, err := c.Quote(t.Context(), "ONEMORE"); q.Origin != "ONEMORE" || err != nil {
			t.Errorf("afterwards: %+v, %v", q, err)
		}
		if n := len(c.entries); n > cacheSize {
			t.Errorf("%d entries", n)
		}
	})
}

// Each refusal is counted in the log, which has a line for 5 s of them.
func TestRefusalsAreLogged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var lines strings.Builder
		c := newCache(time.Hour, func(string) (Quote, error) {
			time.Sleep(time.Minute)
			return Quote{}, nil
		})
		c.log, c.size = slog.New(slog.NewTextHandler(&lines, nil)), 1
		go c.Quote(t.Context(), "A")
		synctest.Wait()
		for range 12 {
			for range 100 {
				c.Quote(t.Context(), "B")
			}
			time.Sleep(1100 * time.Millisecond)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		var got []string
		for line := range strings.Lines(lines.String()) {
			_, told, _ := strings.Cut(strings.TrimSpace(line), " ")
			got = append(got, told)
		}
		const told = `level=WARN msg="too many tickers are being fetched" limit=1 refused=`
		if want := []string{told + "500", told + "500", told + "200"}; !slices.Equal(got, want) {
			t.Errorf("%q, want %q", got, want)
		}
	})
}
