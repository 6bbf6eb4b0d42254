package quote

import (
	"context"
	"encoding/json"
)

// SampleDay is the day whose closing prices Sample has, YYYY-MM-DD.
const SampleDay = "2025-05-22"

// Sample is a Source that works offline: closing prices of a few well-known
// tickers, in US dollars, as published for SampleDay.
type Sample struct{}

var closing = map[string]Quote{
	"AAPL":  sample("201.36"),
	"AMZN":  sample("203.10"),
	"GOOGL": sample("170.87"),
	"META":  sample("636.57"),
	"MSFT":  sample("454.86"),
	"NVDA":  sample("132.83"),
	"TSLA":  sample("341.04"),
}

func sample(price string) Quote {
	return Quote{Price: json.Number(price), Origin: "sample", Day: SampleDay}
}

// Quote implements Source.
func (Sample) Quote(_ context.Context, ticker string) (Quote, error) {
	q, ok := closing[ticker]
	if !ok {
		return Quote{}, ErrUnknown
	}
	return q, nil
}
