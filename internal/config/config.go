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
	"unicode"
	"unicode/utf8"

	"github.com/knative-sample/rest-api-go/internal/quote"
	"github.com/knative-sample/rest-api-go/internal/rehearsal"
	"github.com/knative-sample/rest-api-go/internal/stock"
)

// Config is the environment, checked.
type Config struct {
	Port         uint16          // 0 picks a free port.
	Revision     stock.Revision  // that this process is, unless there is a Split
	Split        rehearsal.Split // of a rehearsal; empty if there is none
	QuoteURL     quote.Template  // of the provider that is asked for prices; zero if there is none
	QuotePointer quote.Pointer
	QuoteTTL     time.Duration // how long a provider's answer is kept
}

// Load reads and checks the variables. Its error names the variable at fault.
func Load(getenv func(string) string) (Config, error) {
	return load(&environment{getenv: getenv, usage: io.Discard})
}

// Usage writes the variables with their defaults to w.
func Usage(w io.Writer) {
	fmt.Fprint(w, "rest-api-go serves stock prices, labelled by revision. It takes no arguments; configure it with environment variables:\n\n")
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	load(&environment{getenv: func(string) string { return "" }, usage: table})
	table.Flush()
}

func load(e *environment) (Config, error) {
	var c Config
	c.Port = read(e, "PORT", "8080", "port to listen on; 0 picks a free port", parsePort)
	c.Revision.Resource = read(e, "RESOURCE", "NOT SPECIFIED", "label of this revision in texts and paths", parseResource)
	revision := read(e, "K_REVISION", "", "name of this revision for X-Revision; Knative sets it; unset: RESOURCE", parseText)
	c.Revision.Name = cmp.Or(revision, c.Revision.Resource)
	pod := read(e, "HOSTNAME", "", "name of this pod for X-Pod, used if K_REVISION is set; Kubernetes sets it", parseText)
	if revision != "" { // Without Knative, HOSTNAME is some machine's.
		c.Revision.Pod = pod
	}

	key := read(e, "QUOTE_KEY", "", "replaces {key} in QUOTE_URL", parseText)
	parseURL := func(template string) (quote.Template, error) { return quote.ParseTemplate(template, key) }
	c.QuoteURL = read(e, "QUOTE_URL", "", "quote provider's URL with {ticker} and perhaps {key}; unset: a sample of "+quote.SampleDay, parseURL)
	c.QuotePointer = read(e, "QUOTE_POINTER", "", "JSON pointer to the price in the provider's answer; unset: the answer is the price", quote.ParsePointer)
	c.QuoteTTL = read(e, "QUOTE_TTL", "10s", "how long a provider's answer is kept", parseDuration)
	if c.QuoteURL.IsZero() && key != "" {
		e.fail("QUOTE_KEY", errors.New("is set, but QUOTE_URL is not"))
	}
	if c.QuoteURL.IsZero() && len(c.QuotePointer) > 0 {
		e.fail("QUOTE_POINTER", errors.New("is set, but QUOTE_URL is not"))
	}

	c.Revision.Fault.Latency = read(e, "LATENCY", "0s", "how long every answer waits, to make a bad revision", parseDuration)
	c.Revision.Fault.Rate = read(e, "ERROR_RATE", "0", "share of answers that fail with 500, 0 to 1, to make a bad revision", parseRate)
	c.Split = read(e, "SPLIT", "", "rehearse revisions without a cluster, e.g. v1=50,v2=50; the last one has LATENCY and ERROR_RATE, after v1=100 those that are made later; RESOURCE is not used", rehearsal.ParseSplit)
	return c, e.err
}

// environment collects what is read from it, and keeps the first error.
type environment struct {
	getenv func(string) string
	usage  io.Writer // gets a line for each variable
	err    error
}

func (e *environment) fail(name string, err error) {
	if e.err == nil {
		e.err = fmt.Errorf("%s: %w", name, err)
	}
}

// read parses a variable, or its fallback where it is unset or empty. Without a
// fallback either, it returns the zero value.
func read[T any](e *environment, name, fallback, help string, parse func(string) (T, error)) (value T) {
	fmt.Fprintf(e.usage, "  %s\t%s\t%s\n", name, cmp.Or(fallback, "-"), help)
	text := cmp.Or(e.getenv(name), fallback)
	if text == "" {
		return value
	}
	value, err := parse(text)
	if err != nil {
		e.fail(name, err)
	}
	return value
}

// parseText refuses a line end, which comes easily from a file or a pipe, and
// bytes that are no text. Its errors do not repeat these, which may be a key.
func parseText(s string) (string, error) {
	switch {
	case strings.ContainsFunc(s, unicode.IsControl):
		return "", errors.New("has a control character, such as a line end")
	case !utf8.ValidString(s):
		return "", errors.New("is not UTF-8")
	}
	return s, nil
}

func parseResource(s string) (string, error) {
	if strings.Contains(s, "/") || s == "." || s == ".." {
		return "", fmt.Errorf("%q is not one segment of a path", s)
	}
	return parseText(s)
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
