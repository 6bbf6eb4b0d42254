package quote

import (
	"context"
	"net/http"
	"sync"
	"time"
)

// cacheSize bounds the answers that are kept and the fetches under way, in
// tickers.
const cacheSize = 1024

// cache shares one fetch among all who ask for a ticker at one time, and keeps
// its answer, a price or ErrUnknown, for ttl. Failures are not kept.
type cache struct {
	fetch func(ticker string) (Quote, error)
	ttl   time.Duration
	size  int

	mu      sync.Mutex
	entries map[string]*entry
}

// entry belongs to one fetch. done is closed when the fields below are final.
type entry struct {
	done    chan struct{}
	quote   Quote
	err     error
	expires time.Time
}

func (e *entry) underWay() bool {
	select {
	case <-e.done:
		return false
	default:
		return true
	}
}

func (c *cache) Quote(ctx context.Context, ticker string) (Quote, error) {
	e := c.entry(ticker)
	if e == nil {
		return Quote{}, &UpstreamError{Status: http.StatusServiceUnavailable, RetryAfter: "1", Reason: "too many tickers are being fetched"}
	}
	select {
	case <-e.done:
		return e.quote, e.err
	case <-ctx.Done():
		return Quote{}, ctx.Err()
	}
}

// entry returns the ticker's entry, and starts its fetch if there is none to
// share; nil when the cache is full of fetches under way.
func (c *cache) entry(ticker string) *entry {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e := c.entries[ticker]; e != nil && (e.underWay() || time.Now().Before(e.expires)) {
		return e
	}
	delete(c.entries, ticker)
	if len(c.entries) >= c.size && !c.makeRoom() {
		return nil
	}
	e := &entry{done: make(chan struct{})}
	c.entries[ticker] = e
	// of its own: a client that leaves must not cancel it for the others
	go func() {
		e.quote, e.err = c.fetch(ticker)
		if e.err == nil || e.err == ErrUnknown {
			e.expires = time.Now().Add(c.ttl)
		}
		close(e.done)
	}()
	return e
}

// makeRoom forgets an answer, whichever comes first, and tells whether there
// was one: a fetch under way has clients waiting.
func (c *cache) makeRoom() bool {
	for ticker, e := range c.entries {
		if !e.underWay() {
			delete(c.entries, ticker)
			return true
		}
	}
	return false
}
