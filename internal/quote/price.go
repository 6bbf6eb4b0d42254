package quote

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
)

const maxPrice = 64 // digits and signs

// findPrice reads the price at pointer out of a provider's answer. Providers
// say in many ways that they do not know a ticker: those wrap ErrUnknown, and
// say which it was.
func findPrice(body []byte, pointer Pointer) (json.Number, error) {
	body = bytes.TrimPrefix(body, []byte("\ufeff")) // a byte order mark
	var doc any
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.UseNumber() // the digits that came
	err := dec.Decode(&doc)
	if _, end := dec.Token(); err == nil && end != io.EOF {
		err = errors.New("more than one value")
	}
	if err != nil {
		if len(pointer) > 0 {
			return "", badGateway("the quote provider's answer is not JSON")
		}
		doc = string(body) // a price alone, as $1,201.36
	}
	value, ok := pointer.Find(doc)
	if !ok {
		return "", unknown("the quote provider's answer has nothing where QUOTE_POINTER points")
	}
	return parsePrice(value)
}

// the ways to write a number in JSON, and $ and thousands beside
var pricePattern = regexp.MustCompile(`^(-?)\$?((?:0|[1-9]\d*|[1-9]\d{0,2}(?:,\d{3})+)(?:\.\d+)?(?:[eE][+-]?\d+)?)$`)

// parsePrice reads a price, which is a finite number other than 0, out of a
// JSON value.
func parsePrice(value any) (json.Number, error) {
	var text string
	switch v := value.(type) {
	case nil:
		return "", unknown("the quote provider's price is null")
	case json.Number:
		text = v.String()
	case string:
		text = strings.TrimSpace(v)
	default:
		return "", badGateway("the quote provider's answer has no price where QUOTE_POINTER points")
	}
	if text == "" || strings.EqualFold(text, "N/A") {
		return "", unknown("the quote provider's price is empty or N/A")
	}
	m := pricePattern.FindStringSubmatch(text)
	if m == nil || len(text) > maxPrice {
		return "", badGateway("the quote provider's answer has text for a price")
	}
	price := m[1] + strings.ReplaceAll(m[2], ",", "")
	number, err := strconv.ParseFloat(price, 64)
	switch {
	case err != nil:
		return "", badGateway("the quote provider's price is too large for a number")
	case number == 0:
		return "", unknown("the quote provider's price is 0")
	}
	return json.Number(strings.Clone(price)), nil // alone, not within the answer
}

func unknown(why string) error {
	return fmt.Errorf("%w: %s", ErrUnknown, why)
}
