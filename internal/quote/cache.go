package quote

import (
	"errors"
	"maps"
	"net/http"
	"sync"
	"time"
)

// cacheSize bounds the tickers that are kept, and those that are being fetched.
const cacheSize = 1024

// cache shares one fetch among all who ask for a ticker at the same time. It
// keeps the answer, a price or ErrUnknown, for ttl, and keeps no failures.
type cache struct {
	ttl time.Duration

	mu       sync.Mutex
	kept     map[string]*entry
	underWay map[string]*entry // being fetched
}

// entry has a quote or an error once done is closed.
type entry struct {
	done    chan struct{}
	quote   Quote
	err     error
	expires time.Time
}

// get returns what is kept for the ticker, or what fetch returns.
func (c *cache) get(ticker string, fetch func(ticker string) (Quote, error)) (Quote, error) {
	c.mu.Lock()
	e := c.kept[ticker]
	if e == nil || !time.Now().Before(e.expires) {
		e = c.underWay[ticker]
	}
	if e == nil && len(c.underWay) == cacheSize {
		c.mu.Unlock()
		return Quote{}, &UpstreamError{http.StatusServiceUnavailable, "1", "too many tickers are being fetched"}
	}
	if e == nil {
		e = &entry{done: make(chan struct{})}
		c.underWay[ticker] = e
		go func() { // It goes on when the client leaves.
			e.quote, e.err = fetch(ticker)
			c.settle(ticker, e)
		}()
	}
	c.mu.Unlock()
	<-e.done
	return e.quote, e.err
}

// settle keeps what was fetched, unless that failed. A full cache makes room by
// forgetting the unknown tickers and what has expired. If that is not enough it
// does not keep e, and never gives up a price for it.
func (c *cache) settle(ticker string, e *entry) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e.expires = time.Now().Add(c.ttl)
	close(e.done)
	delete(c.underWay, ticker)
	if e.err != nil && !errors.Is(e.err, ErrUnknown) {
		return
	}
	if len(c.kept) == cacheSize {
		maps.DeleteFunc(c.kept, func(_ string, e *entry) bool {
			return errors.Is(e.err, ErrUnknown) || !time.Now().Before(e.expires)
		})
	}
	if len(c.kept) < cacheSize {
		c.kept[ticker] = e
	}
}
