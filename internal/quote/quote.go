// Package quote finds the price of a ticker: in a small sample inside the
// binary, or at a quote provider's HTTP API.
package quote

import (
	"encoding/json"
	"errors"
	"strings"
)

// Quote is what is known of one ticker.
type Quote struct {
	// Price has the digits and the currency that the source gave.
	Price json.Number
	// Origin is "sample" or "upstream".
	Origin string
	// Day that the price is from, YYYY-MM-DD; empty where the price is current.
	Day string
}

// Source gives quotes. The ticker must come from ParseTicker. The error is or
// wraps ErrUnknown or an *UpstreamError.
//
// There is no context: a fetch takes 5 s at most, and many clients may wait for
// it, so one that leaves must not cancel it.
type Source interface {
	Quote(ticker string) (Quote, error)
}

// ErrUnknown says that the source has no price for the ticker.
var ErrUnknown = errors.New("unknown ticker")

// UpstreamError says why the provider gave no answer, in words fit for a
// client: without the provider's URL, key or address.
type UpstreamError struct {
	Status     int    // to answer with: 502, 503 or 504
	RetryAfter string // seconds after which to ask again, or empty
	Reason     string
}

func (e *UpstreamError) Error() string { return e.Reason }

const (
	alphanumeric = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
	punctuation  = ".-^="
)

// ErrTicker says that the text cannot be a ticker.
var ErrTicker = errors.New("a ticker is 1 to 15 letters, digits and . - ^ =, and not punctuation alone")

// ParseTicker returns s in upper case, or ErrTicker.
func ParseTicker(s string) (string, error) {
	foreign := strings.Trim(s, alphanumeric+punctuation) != ""
	bare := strings.Trim(s, punctuation) == "" // ".." would climb in the provider's path.
	if len(s) > 15 || foreign || bare {
		return "", ErrTicker
	}
	return strings.ToUpper(s), nil
}

// SampleDay is the day whose closing prices Sample has, YYYY-MM-DD.
const SampleDay = "2025-05-22"

// Sample is a Source that works offline: closing prices of a few well-known
// tickers, in US dollars, as published for SampleDay.
type Sample struct{}

var closing = map[string]json.Number{
	"AAPL":  "201.36",
	"AMZN":  "203.10",
	"GOOGL": "170.87",
	"META":  "636.57",
	"MSFT":  "454.86",
	"NVDA":  "132.83",
	"TSLA":  "341.04",
}

func (Sample) Quote(ticker string) (Quote, error) {
	price, ok := closing[ticker]
	if !ok {
		return Quote{}, ErrUnknown
	}
	return Quote{Price: price, Origin: "sample", Day: SampleDay}, nil
}
