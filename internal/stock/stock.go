// Package stock is one revision of the stock-price API: the index, the stock
// index and the stock price, labelled by the revision's RESOURCE.
package stock

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/knative-sample/rest-api-go/internal/page"
	"github.com/knative-sample/rest-api-go/internal/quote"
)

// Stable is the first path segment that every revision answers, whatever its
// RESOURCE. A client that uses it keeps its path through a rollout.
const Stable = "stock"

// Revision says which revision answers, and how badly.
type Revision struct {
	// Resource is the label in texts and paths. It must be a single path
	// segment, without control characters.
	Resource string
	// Name is what the X-Revision header tells clients.
	Name string
	// Pod is what the X-Pod header tells clients. Without one, that header is
	// not sent.
	Pod   string
	Fault Fault
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
	if s.Pod != "" {
		header.Set("X-Pod", s.Pod)
	}
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("Vary", "Accept")

	// a client whose base URL ends in a slash sends two slashes
	path := strings.TrimLeft(r.URL.EscapedPath(), "/")
	offers := []string{Text, JSON, HTML}
	if path != "" || !reads(r) {
		offers = offers[:2]
	}
	preferred := Preferred(r.Header, offers...)
	if preferred == HTML {
		page.Serve(w) // without the Fault, which it is there to show
		return
	}

	a := s.answer(header, r, path)
	if preferred == JSON {
		a.Resource, a.Revision, a.Pod = s.Resource, s.Name, s.Pod
		header.Set("Content-Type", "application/json")
		w.WriteHeader(a.status)
		json.NewEncoder(w).Encode(a) // an error means that the client has left
		return
	}
	header.Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(a.status)
	io.WriteString(w, a.text) // and so does one here
}

func reads(r *http.Request) bool {
	return r.Method == http.MethodGet || r.Method == http.MethodHead
}

// answer holds an answer in both forms: its text, and its fields as JSON.
type answer struct {
	status int
	text   string

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

// answer returns the answer to a request for path, which is still escaped and
// has lost its leading slashes. It sets the headers that not every answer has.
func (s *service) answer(header http.Header, r *http.Request, path string) answer {
	if s.Fault.inject(r) {
		return s.failure(http.StatusInternalServerError, "failed on purpose (ERROR_RATE)")
	}
	if !reads(r) {
		header.Set("Allow", "GET, HEAD")
		return s.failure(http.StatusMethodNotAllowed, "method "+r.Method+" not allowed, require GET or HEAD")
	}
	if path == "" {
		message := "Welcome to the " + s.Resource + " app!"
		return answer{status: http.StatusOK, text: message + " \n", Message: message} // the article's space
	}

	first, rest, _ := strings.Cut(path, "/")
	resource, _ := url.PathUnescape(first) // net/http has checked the escapes
	ticker, _ := url.PathUnescape(rest)
	switch {
	case resource != s.Resource && resource != Stable, strings.Contains(rest, "/"):
		return s.failure(http.StatusNotFound, "no such path, require /, /"+s.Resource+"/{ticker} or /"+Stable+"/{ticker}")
	case rest == "":
		message := s.Resource + " ticker not found!, require /" + resource + "/{ticker}"
		return answer{status: http.StatusOK, text: message + "\n", Message: message}
	}
	return s.price(header, ticker)
}

func (s *service) price(header http.Header, ticker string) answer {
	ticker, err := quote.ParseTicker(ticker)
	if err != nil {
		return s.failure(http.StatusBadRequest, err.Error())
	}
	q, err := s.quotes.Quote(ticker)
	if errors.Is(err, quote.ErrUnknown) {
		return answer{
			status: http.StatusNotFound,
			text:   s.Resource + " not found for ticker : " + ticker + " \n", // the article's spaces
			Ticker: ticker,
			Error:  "not found",
		}
	}
	if err != nil {
		upstream := &quote.UpstreamError{Status: http.StatusInternalServerError, Reason: "no quote available"}
		errors.As(err, &upstream) // err may say more than a client is told
		if upstream.RetryAfter != "" {
			header.Set("Retry-After", upstream.RetryAfter)
		}
		a := s.failure(upstream.Status, "price for ticker "+ticker+" is not available: "+upstream.Reason)
		a.Ticker = ticker
		return a
	}
	header.Set("X-Quote-Source", q.Origin)
	return answer{
		status: http.StatusOK,
		text:   s.Resource + " price for ticker " + ticker + " is " + q.Price.String() + "\n",
		Ticker: ticker,
		Price:  q.Price,
		Source: q.Origin,
		Day:    q.Day,
	}
}

func (s *service) failure(status int, message string) answer {
	return answer{status: status, text: s.Resource + " " + message + "\n", Error: message}
}
