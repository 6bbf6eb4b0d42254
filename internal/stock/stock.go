// Package stock is one revision of the stock-price API: the index, the stock
// index and the stock price, labelled by the revision's RESOURCE.
package stock

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
	"unicode"

	"github.com/knative-sample/rest-api-go/internal/accept"
	"github.com/knative-sample/rest-api-go/internal/fault"
	"github.com/knative-sample/rest-api-go/internal/page"
	"github.com/knative-sample/rest-api-go/internal/quote"
)

// Stable is the first path segment that every revision answers, whatever its
// RESOURCE: a client's path that survives a rollout.
const Stable = "stock"

// Revision says which revision answers, and how badly.
type Revision struct {
	// Resource is the label in texts and paths, a single path segment.
	Resource string
	// Name is what the X-Revision header tells clients.
	Name string
	// Pod is what the X-Pod header tells clients; without one it is not sent.
	Pod   string
	Fault fault.Fault
}

// CheckResource tells why resource cannot be a Revision's, in words that
// follow its name.
func CheckResource(resource string) error {
	switch {
	case resource == "":
		return errors.New("is empty")
	case strings.Contains(resource, "/"):
		return errors.New("has a slash: it must be a single path segment")
	case resource == "." || resource == "..":
		return errors.New("is a path segment that clients remove")
	case strings.ContainsFunc(resource, unicode.IsControl):
		return errors.New("has a control character")
	}
	return nil
}

const (
	bodyTimeout = time.Second
	maxBody     = 256 << 10 // bytes
)

type service struct {
	Revision
	quotes quote.Source
	index  answer
}

// New returns the revision's handler: GET and HEAD of /, /{RESOURCE},
// /{RESOURCE}/{ticker}, /stock and /stock/{ticker}, as text, as JSON to those
// who ask for it, and / as a page to browsers.
func New(rev Revision, quotes quote.Source) http.Handler {
	message := "Welcome to the " + rev.Resource + " app!"
	index := answer{status: http.StatusOK, text: message + " \n", Message: message} // the article's space
	return &service{rev, quotes, index}
}

func (s *service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	discardBody(w, r)
	header := w.Header()
	header.Set("X-Revision", s.Name)
	if s.Pod != "" {
		header.Set("X-Pod", s.Pod)
	}
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("Vary", "Accept")

	// a client whose base URL ends in a slash sends two
	path := strings.TrimLeft(r.URL.EscapedPath(), "/")
	offers := []string{accept.Text, accept.JSON, accept.HTML}
	if path != "" || !reads(r) {
		offers = offers[:2]
	}
	switch accept.Preferred(r.Header, offers...) {
	case accept.HTML:
		page.Serve(w) // without the Fault, which it is there to show
	case accept.JSON:
		a := s.answer(header, r, path)
		a.Resource, a.Revision, a.Pod = s.Resource, s.Name, s.Pod
		write(w, "application/json", a.status, encode(a))
	default:
		a := s.answer(header, r, path)
		write(w, "text/plain; charset=utf-8", a.status, a.text)
	}
}

func reads(r *http.Request) bool {
	return r.Method == http.MethodGet || r.Method == http.MethodHead
}

// discardBody reads what the request brings along, which no answer depends on.
// What does not arrive in time is not waited for: the connection ends with the
// answer.
func discardBody(w http.ResponseWriter, r *http.Request) {
	if r.ContentLength == 0 {
		return
	}
	http.NewResponseController(w).SetReadDeadline(time.Now().Add(bodyTimeout))
	if _, err := io.CopyN(io.Discard, r.Body, maxBody); err != io.EOF {
		w.Header().Set("Connection", "close")
	}
}

// answer is an answer as JSON, with its status and its text.
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

// answer finds the answer to a request for path, which is escaped and without
// its leading slashes. It sets the headers that this answer alone has.
func (s *service) answer(header http.Header, r *http.Request, path string) answer {
	if err := s.Fault.Inject(r); err != nil {
		return s.failure(http.StatusInternalServerError, err.Error())
	}
	if !reads(r) {
		header.Set("Allow", "GET, HEAD")
		return s.failure(http.StatusMethodNotAllowed, "method "+r.Method+" not allowed, require GET or HEAD")
	}
	if path == "" {
		return s.index
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
	return s.price(header, r, ticker)
}

func (s *service) price(header http.Header, r *http.Request, ticker string) answer {
	ticker, err := quote.ParseTicker(ticker)
	if err != nil {
		return s.failure(http.StatusBadRequest, err.Error())
	}
	// a fetch ends by itself, and a client that has closed its half of the
	// connection waits for the answer
	q, err := s.quotes.Quote(context.WithoutCancel(r.Context()), ticker)
	if errors.Is(err, quote.ErrUnknown) {
		return answer{
			status: http.StatusNotFound,
			text:   s.Resource + " not found for ticker : " + ticker + " \n", // the article's spaces
			Ticker: ticker,
			Error:  "not found",
		}
	}
	if err != nil {
		status, reason := http.StatusInternalServerError, "the quotes failed"
		var upstream *quote.UpstreamError
		if errors.As(err, &upstream) {
			// err itself may tell more, which is for the log
			status, reason = upstream.Status, upstream.Reason
			if upstream.RetryAfter != "" {
				header.Set("Retry-After", upstream.RetryAfter)
			}
		}
		a := s.failure(status, "price for ticker "+ticker+" is not available: "+reason)
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

func write(w http.ResponseWriter, contentType string, status int, body string) {
	w.Header().Set("Content-Type", contentType)
	w.WriteHeader(status)
	io.WriteString(w, body) // an error here is a client that has left
}

func encode(a answer) string {
	b, err := json.Marshal(a)
	if err != nil {
		panic(err) // strings, and a price that quote has checked
	}
	return string(b) + "\n"
}
