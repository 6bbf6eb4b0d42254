package quote

import (
	"container/list"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"strconv"
	"sync"
	"time"
)

const (
	// cacheSize bounds the answers that are kept, and the fetches under way,
	// in tickers.
	cacheSize = 1024
	// countFor is how long refusals are counted before they are logged.
	countFor = 5 * time.Second
)

// cache shares one fetch among all who ask for a ticker at one time, and keeps
// its answer, a price or ErrUnknown, for ttl. Failures are not kept. When it is
// full it forgets what nobody has asked for the longest, unknown tickers first.
type cache struct {
	fetch func(ticker string) (Quote, error)
	ttl   time.Duration
	size  int
	log   *slog.Logger

	mu       sync.Mutex
	entries  map[string]*entry
	underWay int
	// the entries that are kept; the one asked for last is in front
	prices, unknown list.List
	heldUntil       time.Time
	refused         int // since that was last logged
}

// entry belongs to one fetch. quote and err are final when done is closed; the
// cache's mu guards the rest.
type entry struct {
	ticker  string
	done    chan struct{}
	quote   Quote
	err     error
	expires time.Time
	kept    *list.List    // nil while the fetch is under way
	place   *list.Element // in kept
}

func (c *cache) Quote(ctx context.Context, ticker string) (Quote, error) {
	e, err := c.entry(ticker)
	if err != nil {
		return Quote{}, err
	}
	select {
	case <-e.done:
		return e.quote, e.err
	case <-ctx.Done():
		return Quote{}, ctx.Err()
	}
}

// entry returns the ticker's entry, and starts its fetch if there is none to
// share. Its error says why no fetch may be started now.
func (c *cache) entry(ticker string) (*entry, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e := c.entries[ticker]; e != nil {
		switch {
		case e.kept == nil:
			return e, nil
		case time.Now().Before(e.expires):
			e.kept.MoveToFront(e.place)
			return e, nil
		}
		c.forget(e)
	}
	if wait := time.Until(c.heldUntil); wait > 0 {
		return nil, rateLimited(wait)
	}
	if c.underWay == c.size {
		c.countRefusal()
		return nil, &UpstreamError{Status: http.StatusServiceUnavailable, RetryAfter: "1", Reason: "too many tickers are being fetched"}
	}
	e := &entry{ticker: ticker, done: make(chan struct{})}
	c.entries[ticker] = e
	c.underWay++
	go c.fill(e) // a client that leaves must not cancel it for the others
	return e, nil
}

func (c *cache) fill(e *entry) {
	e.quote, e.err = c.fetch(e.ticker)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.underWay--
	switch {
	case e.err == nil:
		c.keep(e, &c.prices)
	case errors.Is(e.err, ErrUnknown):
		c.keep(e, &c.unknown)
	default:
		delete(c.entries, e.ticker)
	}
	close(e.done)
}

func (c *cache) keep(e *entry, kept *list.List) {
	e.expires = time.Now().Add(c.ttl)
	e.kept, e.place = kept, kept.PushFront(e)
	if c.prices.Len()+c.unknown.Len() <= c.size {
		return
	}
	last := c.unknown.Back()
	if last == nil {
		last = c.prices.Back()
	}
	c.forget(last.Value.(*entry))
}

func (c *cache) forget(e *entry) {
	e.kept.Remove(e.place)
	delete(c.entries, e.ticker)
}

// hold lets no fetch start for d.
func (c *cache) hold(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if until := time.Now().Add(d); until.After(c.heldUntil) {
		c.heldUntil = until
	}
}

// rateLimited is the answer to those who ask during a hold that lasts for wait.
func rateLimited(wait time.Duration) error {
	seconds := (wait + time.Second - 1) / time.Second // rounded up
	return &UpstreamError{
		Status:     http.StatusServiceUnavailable,
		RetryAfter: strconv.Itoa(int(seconds)),
		Reason:     "the quote provider's rate limit is reached",
	}
}

// countRefusal logs all refusals of a while in one line.
func (c *cache) countRefusal() {
	c.refused++
	if c.refused > 1 {
		return
	}
	time.AfterFunc(countFor, func() {
		c.mu.Lock()
		refused := c.refused
		c.refused = 0
		c.mu.Unlock()
		c.log.Warn("too many tickers are being fetched", "limit", c.size, "refused", refused)
	})
}
