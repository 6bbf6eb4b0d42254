package quote

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"
)

const (
	fetchTimeout = 5 * time.Second
	maxBody      = 1 << 20
	maxPrice     = 64 // digits and signs
	// some providers answer Go's own User-Agent with 429
	userAgent = "Mozilla/5.0 (compatible; rest-api-go)"
)

// Template is a provider's URL with places for the ticker and the key.
type Template struct {
	url, key string
}

// ParseTemplate checks that template is an http or https URL with {ticker},
// and perhaps {key}, in its path or query. Its errors do not repeat the
// template, which may have a key in it.
func ParseTemplate(template, key string) (Template, error) {
	t := Template{template, key}
	u, err := url.Parse(t.expand("AAPL"))
	switch {
	case err != nil, u.Scheme != "http" && u.Scheme != "https", u.Hostname() == "":
		return Template{}, errors.New("want an http or https URL")
	case u.User != nil:
		return Template{}, errors.New("a user in the URL is not supported; put {key} in its path or query")
	case strings.Contains(template, "#"):
		return Template{}, errors.New("what follows # in a URL is not sent; write a # as %23")
	case !strings.Contains(template, "{ticker}"):
		return Template{}, errors.New("want {ticker} where the ticker belongs")
	case strings.Contains(authority(template), "{"):
		return Template{}, errors.New("{ticker} and {key} belong in the path or query")
	}
	return t, nil
}

// NeedsKey tells whether the template has a place for a key.
func (t Template) NeedsKey() bool { return strings.Contains(t.url, "{key}") }

// Host is the provider's host, with the port if the template names one.
func (t Template) Host() string { return authority(t.url) }

func authority(rawURL string) string {
	_, rest, _ := strings.Cut(rawURL, "://")
	if end := strings.IndexAny(rest, "/?#"); end >= 0 {
		return rest[:end]
	}
	return rest
}

func (t Template) expand(ticker string) string {
	return strings.NewReplacer("{ticker}", escape(ticker), "{key}", escape(t.key)).Replace(t.url)
}

// escape makes s safe in a path and in a query alike.
func escape(s string) string {
	return strings.ReplaceAll(url.QueryEscape(s), "+", "%20")
}

// Upstream is a Source that asks a quote provider.
type Upstream struct {
	cache
	template Template
	pointer  Pointer
	timeout  time.Duration
	// a RoundTripper rather than a Client: it follows no redirect, which
	// would carry the key elsewhere, and its errors do not hold the URL
	transport http.RoundTripper
	log       *slog.Logger
}

// NewUpstream returns a Source that asks the provider at template and reads
// the price at pointer. It keeps each answer for ttl, gives a fetch 5 s in all,
// and logs each fetch that fails.
func NewUpstream(template Template, pointer Pointer, ttl time.Duration, log *slog.Logger) *Upstream {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.MaxResponseHeaderBytes = maxBody
	// net/http logs what a provider sends on an idle connection, and that can
	// be the request, with the key
	transport.DisableKeepAlives = true
	u := &Upstream{
		template:  template,
		pointer:   pointer,
		timeout:   fetchTimeout,
		transport: transport,
		log:       log,
	}
	u.cache = cache{fetch: u.fetch, ttl: ttl, size: cacheSize, entries: map[string]*entry{}}
	return u
}

func (u *Upstream) fetch(ticker string) (Quote, error) {
	ctx, cancel := context.WithTimeout(context.Background(), u.timeout)
	defer cancel()
	price, err := u.price(ctx, ticker)
	if err != nil && ctx.Err() != nil {
		err = &UpstreamError{Status: http.StatusGatewayTimeout, Reason: fmt.Sprintf("the quote provider took longer than %v", u.timeout)}
	}
	if err != nil {
		if !errors.Is(err, ErrUnknown) {
			u.log.Warn("no quote", "ticker", ticker, "provider", u.template.Host(), "err", err)
		}
		return Quote{}, err
	}
	return Quote{Price: price, Origin: "upstream"}, nil
}

func (u *Upstream) price(ctx context.Context, ticker string) (json.Number, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.template.expand(ticker), nil)
	if err != nil {
		return "", badGateway("the quote provider's URL does not take this ticker")
	}
	req.Header.Set("User-Agent", userAgent)
	req.Header.Set("Accept", "application/json, text/plain, */*")
	resp, err := u.transport.RoundTrip(req)
	if err != nil {
		return "", fmt.Errorf("%w%s", badGateway("the quote provider cannot be reached"), cause(err))
	}
	defer resp.Body.Close()

	switch resp.StatusCode {
	case http.StatusOK:
	case http.StatusNotFound:
		return "", ErrUnknown
	case http.StatusTooManyRequests:
		return "", &UpstreamError{
			Status:     http.StatusServiceUnavailable,
			RetryAfter: retryAfter(resp.Header),
			Reason:     "the quote provider's rate limit is reached",
		}
	default:
		return "", badGateway(fmt.Sprintf("the quote provider answered with status %d", resp.StatusCode))
	}

	body, err := io.ReadAll(io.LimitReader(resp.Body, maxBody+1))
	if err != nil {
		return "", badGateway("the quote provider broke off its answer")
	}
	if len(body) > maxBody {
		return "", badGateway("the quote provider's answer is larger than 1 MiB")
	}
	return u.parse(body)
}

// retryAfter returns the header if it is seconds or a date, which cannot repeat
// the request.
func retryAfter(header http.Header) string {
	value := header.Get("Retry-After")
	if _, err := strconv.ParseUint(value, 10, 32); err == nil {
		return value
	}
	if _, err := http.ParseTime(value); err == nil {
		return value
	}
	return ""
}

// parse finds the price in body.
func (u *Upstream) parse(body []byte) (json.Number, error) {
	var doc any
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.UseNumber() // the digits that came
	err := dec.Decode(&doc)
	if _, end := dec.Token(); err == nil && end != io.EOF {
		err = errors.New("more than one value")
	}
	if err != nil {
		if len(u.pointer) > 0 {
			return "", badGateway("the quote provider's answer is not JSON")
		}
		doc = string(body) // a price alone, as $1,201.36
	}
	value, _ := u.pointer.Find(doc)
	return parsePrice(value)
}

var (
	pricePattern = regexp.MustCompile(`^(-?)\$?((?:0|[1-9]\d*|[1-9]\d{0,2}(?:,\d{3})+)(?:\.\d+)?(?:[eE][+-]?\d+)?)$`)
	zeroPattern  = regexp.MustCompile(`^-?[0.]+(?:[eE].*)?$`)
)

// parsePrice reads a price out of a JSON value. Providers say in many ways
// that they do not know a ticker: those are ErrUnknown.
func parsePrice(value any) (json.Number, error) {
	var text string
	switch v := value.(type) {
	case nil:
		return "", ErrUnknown
	case json.Number:
		text = v.String()
	case string:
		text = strings.TrimSpace(v)
	default:
		return "", badGateway("the quote provider's answer has no price where QUOTE_POINTER points")
	}
	if text == "" || strings.EqualFold(text, "N/A") {
		return "", ErrUnknown
	}
	m := pricePattern.FindStringSubmatch(text)
	if m == nil || len(text) > maxPrice {
		return "", badGateway("the quote provider's answer has text for a price")
	}
	price := m[1] + strings.ReplaceAll(m[2], ",", "")
	if zeroPattern.MatchString(price) {
		return "", ErrUnknown
	}
	return json.Number(strings.Clone(price)), nil // alone, not within the answer
}

func badGateway(reason string) error {
	return &UpstreamError{Status: http.StatusBadGateway, Reason: reason}
}

// cause is what of a transport error is safe to log. Others can repeat what
// the provider sent, and that the request, with the key.
func cause(err error) string {
	var network *net.OpError
	if errors.As(err, &network) {
		return ": " + network.Error()
	}
	var certificate *tls.CertificateVerificationError
	if errors.As(err, &certificate) {
		return ": " + certificate.Error()
	}
	return ""
}
