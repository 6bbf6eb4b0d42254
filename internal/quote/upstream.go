package quote

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"
)

const (
	fetchTimeout = 5 * time.Second
	maxHeader    = 64 << 10 // bytes
	maxBody      = 1 << 20  // bytes
	maxHold      = time.Minute
	// Some providers answer Go's own User-Agent with 429.
	userAgent = "Mozilla/5.0 (compatible; rest-api-go)"
)

// Upstream is a Source that asks a quote provider.
type Upstream struct {
	template Template
	pointer  Pointer
	// transport is no http.Client, which would follow redirects, and so carry
	// the key elsewhere.
	transport http.RoundTripper
	log       *slog.Logger
	cache     cache
	// heldUntil is when the provider may be asked again, in Unix nanoseconds.
	heldUntil atomic.Int64
	// unknownLogged is true for a minute after an unknown ticker was logged.
	unknownLogged atomic.Bool
}

// NewUpstream returns a Source that asks the provider at template and reads
// the price at pointer. It keeps each answer for ttl, gives a fetch 5 s in all,
// and logs each fetch that fails, without the key. While the provider's rate
// limit is reached, it serves only what it keeps. It obeys HTTP_PROXY,
// HTTPS_PROXY, NO_PROXY and SSL_CERT_FILE.
//
// Keep the standard log out of sight: net/http writes there what a provider
// sends before it is asked, and that may repeat an earlier request.
func NewUpstream(template Template, pointer Pointer, ttl time.Duration, log *slog.Logger) *Upstream {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.MaxResponseHeaderBytes = maxHeader
	// On a connection that is used again, one answer too many would be taken
	// for the price of the next ticker.
	transport.DisableKeepAlives = true
	return &Upstream{
		template:  template,
		pointer:   pointer,
		transport: transport,
		log:       log,
		cache:     cache{ttl: ttl, kept: map[string]*entry{}, underWay: map[string]*entry{}},
	}
}

func (u *Upstream) Quote(ticker string) (Quote, error) {
	return u.cache.get(ticker, u.fetch)
}

func (u *Upstream) fetch(ticker string) (Quote, error) {
	if wait := time.Until(time.Unix(0, u.heldUntil.Load())); wait > 0 {
		return Quote{}, rateLimited(wait)
	}
	price, err := u.price(ticker)
	if err != nil {
		u.logFailure(ticker, err)
	}
	return Quote{Price: price, Origin: "upstream"}, err
}

// logFailure logs why there is no quote. Of the unknown tickers it logs one a
// minute: clients who ask for nonsense do not fill the log, and a mistake in
// QUOTE_URL, QUOTE_KEY or QUOTE_POINTER shows.
func (u *Upstream) logFailure(ticker string, err error) {
	if errors.Is(err, ErrUnknown) {
		if !u.unknownLogged.CompareAndSwap(false, true) {
			return
		}
		time.AfterFunc(time.Minute, func() { u.unknownLogged.Store(false) })
	}
	u.log.Warn("no quote", "ticker", ticker, "provider", u.template.Host, "err", err)
}

func (u *Upstream) price(ticker string) (json.Number, error) {
	ctx, cancel := context.WithTimeout(context.Background(), fetchTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.template.expand(ticker), nil)
	if err != nil {
		return "", u.noAnswer(err)
	}
	req.Header.Set("User-Agent", userAgent)
	req.Header.Set("Accept", "application/json, text/plain, */*")
	resp, err := u.transport.RoundTrip(req)
	if err != nil {
		return "", u.noAnswer(err)
	}
	defer resp.Body.Close()

	switch resp.StatusCode {
	case http.StatusOK:
	case http.StatusNotFound:
		return "", unknown("the quote provider answered with status 404")
	case http.StatusTooManyRequests:
		wait := retryAfter(resp.Header, u.cache.ttl)
		u.heldUntil.Store(time.Now().Add(wait).UnixNano())
		return "", fmt.Errorf("%w: nothing is fetched for %v", rateLimited(wait), wait)
	default:
		return "", badGateway(fmt.Sprintf("the quote provider answered with status %d", resp.StatusCode))
	}

	body, err := io.ReadAll(io.LimitReader(resp.Body, maxBody+1))
	if err != nil {
		return "", u.noAnswer(err)
	}
	if len(body) > maxBody {
		return "", badGateway("the quote provider's answer is larger than 1 MiB")
	}
	return findPrice(body, u.pointer)
}

// noAnswer says in a few words what err means, for clients, and adds net/http's
// words for the log. These may repeat what the provider sent, and so the key.
func (u *Upstream) noAnswer(err error) error {
	failure := &UpstreamError{Status: http.StatusBadGateway, Reason: "the quote provider gave no valid answer"}
	var timeout net.Error
	var network *net.OpError
	switch {
	case errors.As(err, &timeout) && timeout.Timeout():
		failure.Status, failure.Reason = http.StatusGatewayTimeout, "the quote provider did not answer in time"
	case errors.As(err, &network) && (network.Op == "dial" || network.Op == "proxyconnect"):
		failure.Reason = "the quote provider cannot be reached"
	}
	return fmt.Errorf("%w: %.300s", failure, u.template.redact(err.Error()))
}

func badGateway(reason string) error { return &UpstreamError{http.StatusBadGateway, "", reason} }

// rateLimited is the error while nothing is fetched for another wait.
func rateLimited(wait time.Duration) error {
	seconds := strconv.Itoa(int(math.Ceil(wait.Seconds())))
	return &UpstreamError{http.StatusServiceUnavailable, seconds, "the quote provider's rate limit is reached"}
}

// retryAfter is how long the provider asks to be left alone, from 1 s to a
// minute. Where it does not say, it is fallback.
func retryAfter(header http.Header, fallback time.Duration) time.Duration {
	wait, value := fallback, header.Get("Retry-After")
	if seconds, err := strconv.Atoi(value); err == nil {
		wait = min(time.Duration(seconds), maxHold/time.Second) * time.Second
	} else if date, err := http.ParseTime(value); err == nil {
		wait = time.Until(date)
	}
	return min(max(wait, time.Second), maxHold)
}
