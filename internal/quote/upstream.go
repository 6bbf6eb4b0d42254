package quote

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptrace"
	"strconv"
	"sync/atomic"
	"time"
)

const (
	fetchTimeout = 5 * time.Second
	maxBody      = 1 << 20
	maxHold      = time.Minute
	// some providers answer Go's own User-Agent with 429
	userAgent = "Mozilla/5.0 (compatible; rest-api-go)"
)

// Upstream is a Source that asks a quote provider.
type Upstream struct {
	cache
	template Template
	pointer  Pointer
	timeout  time.Duration
	// a RoundTripper rather than a Client: it follows no redirect, which
	// would carry the key elsewhere, and its errors do not hold the URL
	transport http.RoundTripper
	// priced tells whether a price was ever read, misses how many tickers were
	// unknown since the last one
	priced atomic.Bool
	misses atomic.Int64
}

// NewUpstream returns a Source that asks the provider at template and reads
// the price at pointer. It keeps each answer for ttl, gives a fetch 5 s in all,
// and logs each fetch that fails. While the provider's rate limit is reached it
// serves only what it keeps. It obeys HTTP_PROXY, HTTPS_PROXY, NO_PROXY and
// SSL_CERT_FILE.
//
// Discard the standard log: net/http writes there what a provider sends before
// it is asked, and that may repeat an earlier request, with the key.
func NewUpstream(template Template, pointer Pointer, ttl time.Duration, log *slog.Logger) *Upstream {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.MaxResponseHeaderBytes = maxBody
	// on a connection that is used again, one answer too many would be taken
	// for the price of the next ticker
	transport.DisableKeepAlives = true
	transport.OnProxyConnectResponse = checkProxy
	u := &Upstream{
		template:  template,
		pointer:   pointer,
		timeout:   fetchTimeout,
		transport: transport,
	}
	u.cache = cache{fetch: u.fetch, ttl: ttl, size: cacheSize, log: log, entries: map[string]*entry{}}
	return u
}

func (u *Upstream) fetch(ticker string) (Quote, error) {
	ctx, cancel := context.WithTimeout(context.Background(), u.timeout)
	defer cancel()
	var at progress
	price, err := u.price(httptrace.WithClientTrace(ctx, at.trace()), ticker, &at)
	if err != nil && ctx.Err() != nil {
		err = at.late(u.timeout)
	}
	switch {
	case err == nil:
		u.priced.Store(true)
		u.misses.Store(0)
		return Quote{Price: price, Origin: "upstream"}, nil
	case !errors.Is(err, ErrUnknown):
		u.log.Warn("no quote", "ticker", ticker, "provider", u.template.Host(), "err", err)
		return Quote{}, err
	}
	if n := u.misses.Add(1); suspect(n, u.priced.Load()) {
		u.log.Warn("unknown tickers only", "count", n, "ticker", ticker, "provider", u.template.Host(), "err", err)
	}
	return Quote{}, ErrUnknown
}

// suspect tells whether to log the nth unknown ticker in a row. Where there was
// never a price, or none for long, the mistake may be in QUOTE_URL, QUOTE_KEY
// or QUOTE_POINTER. Only the powers of 2 are logged, so that clients who ask
// for nonsense do not fill the log.
func suspect(n int64, priced bool) bool {
	return n&(n-1) == 0 && (!priced || n >= 16)
}

func (u *Upstream) price(ctx context.Context, ticker string, at *progress) (json.Number, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, expand(u.template.url, ticker, u.template.key), nil)
	if err != nil {
		return "", badGateway("the quote provider's URL does not take this ticker")
	}
	req.Header.Set("User-Agent", userAgent)
	req.Header.Set("Accept", "application/json, text/plain, */*")
	resp, err := u.transport.RoundTrip(req)
	if err != nil {
		return "", at.failure(err)
	}
	defer resp.Body.Close()

	switch resp.StatusCode {
	case http.StatusOK:
	case http.StatusNotFound:
		return "", unknown("the quote provider answered with status 404")
	case http.StatusTooManyRequests:
		wait := retryAfter(resp.Header, u.ttl)
		u.hold(wait)
		return "", fmt.Errorf("%w: nothing is fetched for %v", rateLimited(wait), wait)
	default:
		return "", badGateway(fmt.Sprintf("the quote provider answered with status %d", resp.StatusCode))
	}

	body, err := io.ReadAll(io.LimitReader(resp.Body, maxBody+1))
	switch {
	case err != nil && broken(err):
		return "", badGateway("the quote provider broke off its answer")
	case err != nil:
		return "", badGateway("the quote provider's answer cannot be decoded")
	case len(body) > maxBody:
		return "", badGateway("the quote provider's answer is larger than 1 MiB")
	}
	return findPrice(body, u.pointer)
}

// retryAfter is how long the provider wants to be left alone, from 1 s to a
// minute; where it does not say, it is fallback.
func retryAfter(header http.Header, fallback time.Duration) time.Duration {
	wait, value := fallback, header.Get("Retry-After")
	if seconds, err := strconv.ParseUint(value, 10, 64); err == nil || errors.Is(err, strconv.ErrRange) {
		wait = time.Duration(min(seconds, uint64(maxHold/time.Second))) * time.Second
	} else if date, err := http.ParseTime(value); err == nil {
		wait = time.Until(date)
	}
	return min(max(wait, time.Second), maxHold)
}
