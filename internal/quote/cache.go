package quote

import (
	"errors"
	"maps"
	"math"
	"net/http"
	"strconv"
	"sync"
	"time"
)

// cacheSize bounds the tickers that are kept, and those that are being fetched.
const cacheSize = 1024

// cache shares one fetch among all who ask for a ticker at the same time. It
// keeps the answer, a price or ErrUnknown, for ttl, and keeps no failures.
type cache struct {
	fetch func(ticker string) (Quote, error)
	ttl   time.Duration

	mu        sync.Mutex
	kept      map[string]*entry
	underWay  map[string]*entry // being fetched
	heldUntil time.Time
}

// entry has a quote or an error once done is closed.
type entry struct {
	done    chan struct{}
	quote   Quote
	err     error
	expires time.Time
}

// Quote implements Source.
func (c *cache) Quote(ticker string) (Quote, error) {
	e, err := c.entry(ticker)
	if err != nil {
		return Quote{}, err
	}
	<-e.done
	return e.quote, e.err
}

// entry returns what is kept or under way for the ticker, or starts a fetch.
// Its error says why no fetch may start now.
func (c *cache) entry(ticker string) (*entry, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e := c.kept[ticker]; e != nil && time.Now().Before(e.expires) {
		return e, nil
	}
	if e := c.underWay[ticker]; e != nil {
		return e, nil
	}
	if wait := time.Until(c.heldUntil); wait > 0 {
		return nil, rateLimited(wait)
	}
	if len(c.underWay) == cacheSize {
		return nil, &UpstreamError{Status: http.StatusServiceUnavailable, RetryAfter: "1", Reason: "too many tickers are being fetched"}
	}
	e := &entry{done: make(chan struct{})}
	c.underWay[ticker] = e
	go c.fill(ticker, e)
	return e, nil
}

// fill fetches, and keeps the answer unless that failed. A full cache makes room
// by forgetting the unknown tickers and what has expired. If that is not enough
// it does not keep the new answer, and never gives up a price for it.
func (c *cache) fill(ticker string, e *entry) {
	e.quote, e.err = c.fetch(ticker)
	e.expires = time.Now().Add(c.ttl)
	c.mu.Lock()
	defer c.mu.Unlock()
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

// hold lets no fetch start for d.
func (c *cache) hold(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.heldUntil = time.Now().Add(d)
}

// rateLimited is the error during a hold that lasts for another wait.
func rateLimited(wait time.Duration) error {
	return &UpstreamError{
		Status:     http.StatusServiceUnavailable,
		RetryAfter: strconv.Itoa(int(math.Ceil(wait.Seconds()))),
		Reason:     "the quote provider's rate limit is reached",
	}
}
