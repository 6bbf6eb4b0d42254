// Package config reads the service's settings from environment variables.
package config

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"text/tabwriter"
	"time"

	"github.com/knative-sample/rest-api-go/internal/fault"
	"github.com/knative-sample/rest-api-go/internal/quote"
	"github.com/knative-sample/rest-api-go/internal/rehearsal"
	"github.com/knative-sample/rest-api-go/internal/stock"
)

// Config is the environment, checked.
type Config struct {
	// Port to listen on; 0 takes a free one.
	Port uint16
	// Revision that this process is, unless Split says otherwise.
	Revision stock.Revision
	// Split is the rehearsal's, or empty.
	Split  rehearsal.Split
	Quotes Quotes
}

// Quotes says where prices come from.
type Quotes struct {
	// Upstream tells whether a provider is asked; the fields below are its.
	Upstream bool
	Template quote.Template
	Pointer  quote.Pointer
	TTL      time.Duration
}

// Serving names what is served, for the log.
func (c Config) Serving() string {
	if len(c.Split) == 0 {
		return c.Revision.Name
	}
	return c.Split.String()
}

// Origin says where prices come from, for the log.
func (q Quotes) Origin() string {
	if q.Upstream {
		return "upstream " + q.Template.Host()
	}
	return "sample of " + quote.SampleDay
}

// variable documents one environment variable.
type variable struct{ name, fallback, help string }

var variables = []variable{
	{"PORT", "8080", "port to listen on; 0 takes a free one"},
	{"RESOURCE", "NOT SPECIFIED", "label of this revision in texts and paths"},
	{"K_REVISION", "RESOURCE", "name of this revision for X-Revision; Knative sets it"},
	{"QUOTE_URL", "", "quote provider's URL with {ticker} and perhaps {key}; unset: a sample of " + quote.SampleDay},
	{"QUOTE_KEY", "", "what {key} stands for in QUOTE_URL"},
	{"QUOTE_POINTER", "", "JSON pointer to the price in the provider's answer; unset: the answer is the price"},
	{"QUOTE_TTL", "10s", "how long a provider's answer is kept"},
	{"LATENCY", "0s", "how long every answer waits, to make a bad revision"},
	{"ERROR_RATE", "0", "share of answers that fail with 500, 0 to 1, to make a bad revision"},
	{"SPLIT", "", "rehearse revisions without a cluster, e.g. v1=40,v2=30,v3=30; RESOURCE is not used then"},
}

// Usage writes the variables with their defaults to w.
func Usage(w io.Writer) {
	fmt.Fprintln(w, "rest-api-go serves stock prices, labelled by revision. It is set up by environment variables:")
	fmt.Fprintln(w)
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, v := range variables {
		fmt.Fprintf(table, "  %s\t%s\t%s\n", v.name, cmp.Or(v.fallback, "-"), v.help)
	}
	table.Flush()
}

// Load reads and checks the variables. Its error names the one at fault.
func Load(getenv func(string) string) (Config, error) {
	e := &environment{getenv: getenv}
	resource := read(e, "RESOURCE", parseResource)
	c := Config{
		Port: read(e, "PORT", parsePort),
		Revision: stock.Revision{
			Resource: resource,
			Name:     cmp.Or(getenv("K_REVISION"), resource),
			Fault: fault.Fault{
				Latency: read(e, "LATENCY", parseDuration),
				Rate:    read(e, "ERROR_RATE", parseRate),
			},
		},
		Quotes: Quotes{
			Upstream: getenv("QUOTE_URL") != "",
			Pointer:  read(e, "QUOTE_POINTER", quote.ParsePointer),
			TTL:      read(e, "QUOTE_TTL", parseDuration),
		},
	}
	if c.Quotes.Upstream {
		c.Quotes.Template = read(e, "QUOTE_URL", func(url string) (quote.Template, error) {
			return quote.ParseTemplate(url, getenv("QUOTE_KEY"))
		})
	}
	if c.Quotes.Template.NeedsKey() && getenv("QUOTE_KEY") == "" {
		e.fail("QUOTE_KEY", errors.New("is unset, but QUOTE_URL has {key}"))
	}
	if getenv("SPLIT") != "" {
		c.Split = read(e, "SPLIT", rehearsal.ParseSplit)
	}
	return c, e.err
}

// environment keeps the first error of its reads.
type environment struct {
	getenv func(string) string
	err    error
}

func (e *environment) fail(name string, err error) {
	if e.err == nil {
		e.err = fmt.Errorf("%s: %w", name, err)
	}
}

// read parses the variable, or its default.
func read[T any](e *environment, name string, parse func(string) (T, error)) T {
	text := e.getenv(name)
	if text == "" {
		text = fallback(name)
	}
	value, err := parse(text)
	if err != nil {
		e.fail(name, err)
	}
	return value
}

func fallback(name string) string {
	i := slices.IndexFunc(variables, func(v variable) bool { return v.name == name })
	return variables[i].fallback
}

func parseResource(s string) (string, error) {
	if err := stock.CheckResource(s); err != nil {
		return "", fmt.Errorf("%q %w", s, err)
	}
	return s, nil
}

func parsePort(s string) (uint16, error) {
	port, err := strconv.ParseUint(s, 10, 16)
	if err != nil {
		return 0, fmt.Errorf("%q is not a port from 0 to 65535", s)
	}
	return uint16(port), nil
}

func parseDuration(s string) (time.Duration, error) {
	d, err := time.ParseDuration(s)
	if err != nil || d < 0 {
		return 0, fmt.Errorf("%q is not a duration such as 250ms or 2s", s)
	}
	return d, nil
}

func parseRate(s string) (float64, error) {
	rate, err := strconv.ParseFloat(s, 64)
	if err != nil || !(rate >= 0 && rate <= 1) { // not NaN either
		return 0, fmt.Errorf("%q is not a share from 0 to 1", s)
	}
	return rate, nil
}
