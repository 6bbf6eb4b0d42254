// Package stock is one revision of the stock-price API: the index, the stock
// index and the stock price, labelled by the revision's RESOURCE.
package stock

import (
	"cmp"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/knative-sample/rest-api-go/internal/page"
	"github.com/knative-sample/rest-api-go/internal/quote"
)

// stable is the first path segment that every revision answers, whatever its
// RESOURCE. A client that uses it keeps its path through a rollout.
const stable = "stock"

// The media types of answers.
const (
	Text = "text/plain"
	JSON = "application/json"
	HTML = "text/html"
)

// Revision says which revision answers, and how badly.
type Revision struct {
	Resource string // label in texts and paths: a single path segment, without control characters
	Name     string // for the X-Revision header
	Pod      string // for the X-Pod header, which is not sent without it
	Fault    Fault
}

type service struct {
	Revision
	quotes quote.Source
}

// New returns the revision's handler: GET and HEAD of /, /{RESOURCE},
// /{RESOURCE}/{ticker}, /stock and /stock/{ticker}, as text, as JSON to those
// who ask for it, and / as a page to browsers.
func New(rev Revision, quotes quote.Source) http.Handler {
	return &service{rev, quotes}
}

func (s *service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	header := w.Header()
	header.Set("X-Revision", s.Name)
	setUnlessEmpty(header, "X-Pod", s.Pod)
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("Vary", "Accept")

	// A client whose base URL ends in a slash sends two slashes.
	path := strings.TrimLeft(r.URL.EscapedPath(), "/")
	offers := []string{Text, JSON, HTML}
	if path != "" || !reads(r) {
		offers = offers[:2]
	}
	preferred := Preferred(r.Header, offers...)
	if preferred == HTML {
		page.Serve(w) // The Fault spares the page, which is there to show it.
		return
	}

	var a answer
	if s.Fault.inject(w, r) {
		a = s.failure(http.StatusInternalServerError, "failed on purpose (ERROR_RATE)")
	} else {
		a = s.answer(r, path)
	}
	setUnlessEmpty(header, "Allow", a.allow)
	setUnlessEmpty(header, "Retry-After", a.retryAfter)
	setUnlessEmpty(header, "X-Quote-Source", a.Source)
	// An error of a write below means that the client has left.
	if preferred == JSON {
		a.Resource, a.Revision, a.Pod = s.Resource, s.Name, s.Pod
		header.Set("Content-Type", JSON)
		w.WriteHeader(a.status)
		json.NewEncoder(w).Encode(a)
		return
	}
	header.Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(a.status)
	io.WriteString(w, a.text)
}

func setUnlessEmpty(header http.Header, name, value string) {
	if value != "" {
		header.Set(name, value)
	}
}

func reads(r *http.Request) bool { return r.Method == http.MethodGet || r.Method == http.MethodHead }

// answer holds an answer in both forms: its text, and its fields as JSON.
type answer struct {
	status            int
	text              string
	allow, retryAfter string // headers

	Resource string      `json:"resource"`
	Revision string      `json:"revision"`
	Pod      string      `json:"pod,omitempty"`
	Message  string      `json:"message,omitempty"`
	Ticker   string      `json:"ticker,omitempty"`
	Price    json.Number `json:"price,omitempty"`
	Source   string      `json:"source,omitempty"`
	Day      string      `json:"day,omitempty"`
	Error    string      `json:"error,omitempty"`
}

// answer answers a request for path, which is still escaped and has lost its
// leading slashes.
func (s *service) answer(r *http.Request, path string) answer {
	if !reads(r) {
		a := s.failure(http.StatusMethodNotAllowed, "method "+r.Method+" not allowed, require GET or HEAD")
		a.allow = "GET, HEAD"
		return a
	}
	if path == "" {
		message := "Welcome to the " + s.Resource + " app!"
		return answer{status: http.StatusOK, text: message + " \n", Message: message} // the article's space
	}

	first, rest, _ := strings.Cut(path, "/")
	resource, _ := url.PathUnescape(first) // net/http has checked the escapes
	ticker, _ := url.PathUnescape(rest)
	switch {
	case resource != s.Resource && resource != stable, strings.Contains(rest, "/"):
		return s.failure(http.StatusNotFound, "no such path, require /, /"+s.Resource+"/{ticker} or /"+stable+"/{ticker}")
	case rest == "":
		message := s.Resource + " ticker not found!, require /" + resource + "/{ticker}"
		return answer{status: http.StatusOK, text: message + "\n", Message: message}
	}
	return s.price(ticker)
}

func (s *service) price(ticker string) answer {
	ticker, err := quote.ParseTicker(ticker)
	if err != nil {
		return s.failure(http.StatusBadRequest, err.Error())
	}
	q, err := s.quotes.Quote(ticker)
	if errors.Is(err, quote.ErrUnknown) {
		text := s.Resource + " not found for ticker : " + ticker + " \n" // the article's spaces
		return answer{status: http.StatusNotFound, text: text, Ticker: ticker, Error: "not found"}
	}
	if err != nil {
		upstream := &quote.UpstreamError{Status: http.StatusInternalServerError, Reason: "no quote available"}
		errors.As(err, &upstream) // err may say more than a client is told
		a := s.failure(upstream.Status, "price for ticker "+ticker+" is not available: "+upstream.Reason)
		a.Ticker, a.retryAfter = ticker, upstream.RetryAfter
		return a
	}
	text := s.Resource + " price for ticker " + ticker + " is " + q.Price.String() + "\n"
	return answer{status: http.StatusOK, text: text, Ticker: ticker, Price: q.Price, Source: q.Origin, Day: q.Day}
}

func (s *service) failure(status int, message string) answer {
	return answer{status: status, text: s.Resource + " " + message + "\n", Error: message}
}

// Preferred returns the offer that the Accept header names with the highest q,
// of equals the one that it names first, and the first offer if it names none.
// Unlike in RFC 9110, a wildcard stands for no offer.
func Preferred(header http.Header, offers ...string) string {
	preferred, highest := offers[0], 0.0
	for _, line := range header["Accept"] {
		for element := range strings.SplitSeq(line, ",") {
			name, params, err := mime.ParseMediaType(element)
			if err != nil || !slices.Contains(offers, name) {
				continue
			}
			q, err := strconv.ParseFloat(cmp.Or(params["q"], "1"), 64)
			if err == nil && q > highest && q <= 1 {
				preferred, highest = name, q
			}
		}
	}
	return preferred
}
