// Package config reads the service's settings from environment variables.
package config

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

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

// Load reads and checks the variables. Its error names the one at fault.
func Load(getenv func(string) string) (Config, error) {
	return load(&environment{getenv: getenv})
}

// Usage writes the variables with their defaults to w.
func Usage(w io.Writer) {
	nothing := &environment{getenv: func(string) string { return "" }}
	load(nothing)
	fmt.Fprintln(w, "rest-api-go serves stock prices, labelled by revision. It is set up by environment variables:")
	fmt.Fprintln(w)
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, v := range nothing.variables {
		fmt.Fprintf(table, "  %s\t%s\t%s\n", v.name, cmp.Or(v.fallback, "-"), v.help)
	}
	table.Flush()
}

func load(e *environment) (Config, error) {
	var c Config
	c.Port = read(e, "PORT", "8080", "port to listen on; 0 takes a free one", parsePort)
	c.Revision.Resource = read(e, "RESOURCE", "NOT SPECIFIED", "label of this revision in texts and paths", parseResource)
	c.Revision.Name = read(e, "K_REVISION", "", "name of this revision for X-Revision; Knative sets it; unset: RESOURCE", text)
	c.Revision.Pod = read(e, "HOSTNAME", "", "name of this pod for X-Pod, if it begins with K_REVISION-deployment-; Knative sets it", func(s string) (string, error) {
		return podOf(c.Revision.Name, s), nil
	})
	c.Revision.Name = cmp.Or(c.Revision.Name, c.Revision.Resource)
	key := read(e, "QUOTE_KEY", "", "what {key} stands for in QUOTE_URL", text)
	c.Quotes.Template = read(e, "QUOTE_URL", "", "quote provider's URL with {ticker} and perhaps {key}; unset: a sample of "+quote.SampleDay, optional(func(s string) (quote.Template, error) {
		c.Quotes.Upstream = true
		return quote.ParseTemplate(s, key)
	}))
	if c.Quotes.Template.NeedsKey() && key == "" {
		e.fail("QUOTE_KEY", errors.New("is unset, but QUOTE_URL has {key}"))
	}
	c.Quotes.Pointer = read(e, "QUOTE_POINTER", "", "JSON pointer to the price in the provider's answer; unset: the answer is the price", quote.ParsePointer)
	c.Quotes.TTL = read(e, "QUOTE_TTL", "10s", "how long a provider's answer is kept", parseDuration)
	c.Revision.Fault.Latency = read(e, "LATENCY", "0s", "how long every answer waits, to make a bad revision", parseDuration)
	c.Revision.Fault.Rate = read(e, "ERROR_RATE", "0", "share of answers that fail with 500, 0 to 1, to make a bad revision", parseRate)
	c.Split = read(e, "SPLIT", "", "rehearse revisions without a cluster, e.g. v1=50,v2=50; the last one has LATENCY and ERROR_RATE, after v1=100 those that are made later; RESOURCE is not used", optional(rehearsal.ParseSplit))
	return c, e.err
}

// environment collects what is read from it, and keeps the first error.
type environment struct {
	getenv    func(string) string
	variables []variable
	err       error
}

type variable struct{ name, fallback, help string }

func (e *environment) fail(name string, err error) {
	if e.err == nil {
		e.err = fmt.Errorf("%s: %w", name, err)
	}
}

// read parses a variable, or its fallback where it is unset or empty.
func read[T any](e *environment, name, fallback, help string, parse func(string) (T, error)) T {
	e.variables = append(e.variables, variable{name, fallback, help})
	value, err := parse(cmp.Or(e.getenv(name), fallback))
	if err != nil {
		e.fail(name, err)
	}
	return value
}

// optional leaves a variable that is unset at its zero value.
func optional[T any](parse func(string) (T, error)) func(string) (T, error) {
	return func(s string) (value T, err error) {
		if s == "" {
			return value, nil
		}
		return parse(s)
	}
}

func text(s string) (string, error) { return s, nil }

// podOf returns host if it is the name that Knative gives a pod of revision,
// and else an empty string: every machine has a HOSTNAME.
func podOf(revision, host string) string {
	if revision == "" || !strings.HasPrefix(host, revision+"-deployment-") {
		return ""
	}
	return host
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
