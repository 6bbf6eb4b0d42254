// Package stock is one revision of the stock-price API: the index, the stock
// index and the stock price, labelled by the revision's RESOURCE.
package stock

import (
	"encoding/json"
	"errors"
	"net/http"
	"strings"
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
	Name  string
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

type service struct {
	Revision
	quotes quote.Source
	mux    *http.ServeMux
	// the index's bodies and the headers of every answer, made once
	indexText, indexJSON []byte
	revisionHeader       []string
}

// New returns the revision's handler: GET and HEAD of /, /{RESOURCE},
// /{RESOURCE}/{ticker}, /stock and /stock/{ticker}, as text, as JSON to those
// who ask for it, and / as a page to browsers.
func New(rev Revision, quotes quote.Source) http.Handler {
	s := &service{
		Revision:       rev,
		quotes:         quotes,
		mux:            http.NewServeMux(),
		revisionHeader: []string{rev.Name},
	}
	message := "Welcome to the " + rev.Resource + " app!"
	s.indexText = []byte(message + " \n") // the article's space
	s.indexJSON = encode(answer{Resource: rev.Resource, Revision: rev.Name, Message: message})

	// the mux would read spaces and braces in RESOURCE as its own syntax, so
	// the first segment is matched by value
	s.mux.HandleFunc("/{$}", s.index)
	s.mux.HandleFunc("/{resource}", s.known(s.stockIndex))
	s.mux.HandleFunc("/{resource}/{$}", s.known(s.stockIndex))
	s.mux.HandleFunc("/{resource}/{ticker}", s.known(s.stockPrice))
	s.mux.HandleFunc("/", s.notFound)
	return s
}

// headers that answers share, as net/http keeps them
var (
	noSniff    = []string{"nosniff"}
	varyAccept = []string{"Accept"}
	asText     = []string{"text/plain; charset=utf-8"}
	asJSON     = []string{accept.JSON}
)

func (s *service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	header := w.Header()
	header["X-Revision"] = s.revisionHeader
	header["X-Content-Type-Options"] = noSniff
	header["Vary"] = varyAccept

	switch err := s.Fault.Inject(r); {
	case errors.Is(err, fault.ErrInjected):
		s.fail(w, r, http.StatusInternalServerError, err.Error())
	case err != nil: // the client has left
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		header.Set("Allow", "GET, HEAD")
		s.fail(w, r, http.StatusMethodNotAllowed, "method "+r.Method+" not allowed, require GET or HEAD")
	default:
		s.mux.ServeHTTP(w, r)
	}
}

func (s *service) index(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path != "/" { // /%2F, which the mux takes for it
		s.notFound(w, r)
		return
	}
	switch accept.Preferred(r.Header, accept.Text, accept.JSON, accept.HTML) {
	case accept.HTML:
		page.Serve(w)
	case accept.JSON:
		write(w, http.StatusOK, asJSON, s.indexJSON)
	default:
		write(w, http.StatusOK, asText, s.indexText)
	}
}

// known lets the paths of this revision and the stable ones through to h.
func (s *service) known(h http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if first := r.PathValue("resource"); first != s.Resource && first != Stable {
			s.notFound(w, r)
			return
		}
		h(w, r)
	}
}

func (s *service) stockIndex(w http.ResponseWriter, r *http.Request) {
	if strings.HasSuffix(r.URL.Path, "//") { // /v1/%2F, which the mux takes for /v1/
		s.fail(w, r, http.StatusBadRequest, quote.ErrTicker.Error())
		return
	}
	message := s.Resource + " ticker not found!, require /" + r.PathValue("resource") + "/{ticker}"
	s.reply(w, r, http.StatusOK, message+"\n", answer{Message: message})
}

func (s *service) stockPrice(w http.ResponseWriter, r *http.Request) {
	ticker, err := quote.ParseTicker(r.PathValue("ticker"))
	if err != nil {
		s.fail(w, r, http.StatusBadRequest, err.Error())
		return
	}
	q, err := s.quotes.Quote(r.Context(), ticker)
	var upstream *quote.UpstreamError
	switch {
	case err == nil:
		w.Header().Set("X-Quote-Source", q.Origin)
		s.reply(w, r, http.StatusOK,
			s.Resource+" price for ticker "+ticker+" is "+q.Price.String()+"\n",
			answer{Ticker: ticker, Price: q.Price, Source: q.Origin, Day: q.Day})
	case errors.Is(err, quote.ErrUnknown):
		s.reply(w, r, http.StatusNotFound,
			s.Resource+" not found for ticker : "+ticker+" \n", // the article's spaces
			answer{Ticker: ticker, Error: "not found"})
	case errors.As(err, &upstream):
		if upstream.RetryAfter != "" {
			w.Header().Set("Retry-After", upstream.RetryAfter)
		}
		s.fail(w, r, upstream.Status, upstream.Reason)
	default: // the client has left
	}
}

func (s *service) notFound(w http.ResponseWriter, r *http.Request) {
	s.fail(w, r, http.StatusNotFound, "no such path, require /, /"+s.Resource+"/{ticker} or /"+Stable+"/{ticker}")
}

// answer is a JSON answer.
type answer struct {
	Resource string      `json:"resource"`
	Revision string      `json:"revision"`
	Message  string      `json:"message,omitempty"`
	Ticker   string      `json:"ticker,omitempty"`
	Price    json.Number `json:"price,omitempty"`
	Source   string      `json:"source,omitempty"`
	Day      string      `json:"day,omitempty"`
	Error    string      `json:"error,omitempty"`
}

func (s *service) fail(w http.ResponseWriter, r *http.Request, status int, message string) {
	s.reply(w, r, status, s.Resource+" "+message+"\n", answer{Error: message})
}

// reply writes text, or a to a client that prefers JSON.
func (s *service) reply(w http.ResponseWriter, r *http.Request, status int, text string, a answer) {
	if accept.Preferred(r.Header, accept.Text, accept.JSON) == accept.JSON {
		a.Resource, a.Revision = s.Resource, s.Name
		write(w, status, asJSON, encode(a))
		return
	}
	write(w, status, asText, []byte(text))
}

func write(w http.ResponseWriter, status int, contentType []string, body []byte) {
	w.Header()["Content-Type"] = contentType
	w.WriteHeader(status)
	w.Write(body) // an error here is a client that has left
}

func encode(a answer) []byte {
	b, err := json.Marshal(a)
	if err != nil {
		panic(err) // strings, and a price that quote has checked
	}
	return append(b, '\n')
}
