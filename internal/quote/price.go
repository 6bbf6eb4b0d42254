package quote

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
)

const maxPrice = 64 // digits and signs

// findPrice reads the price at pointer out of a provider's answer. Providers
// say in many ways that they do not know a ticker: for those the error wraps
// ErrUnknown, and says which way it was.
func findPrice(body []byte, pointer Pointer) (json.Number, error) {
	var doc any = strings.TrimSpace(string(body)) // N/A, say
	if json.Valid(body) {
		decoder := json.NewDecoder(bytes.NewReader(body))
		decoder.UseNumber()  // to keep the digits as they are
		decoder.Decode(&doc) // cannot fail: the body is valid
	} else if len(pointer) > 0 {
		return "", badGateway("the quote provider's answer is not JSON")
	}
	value, ok := pointer.Find(doc)
	if !ok {
		return "", unknown("the quote provider's answer has nothing where QUOTE_POINTER points")
	}
	return parsePrice(value)
}

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
		text = v
	default:
		return "", badGateway("the quote provider's answer has no price where QUOTE_POINTER points")
	}
	switch word := strings.ToUpper(strings.TrimSpace(text)); word {
	case "", "-", "NA", "N/A", "N/D":
		return "", unknown(fmt.Sprintf("the quote provider's price is %q", word))
	}
	number, err := strconv.ParseFloat(text, 64)
	if err != nil || len(text) > maxPrice || !json.Valid([]byte(text)) { // as 0x1F is not
		return "", badGateway("the quote provider's price is not a number")
	}
	if number == 0 {
		return "", unknown("the quote provider's price is 0")
	}
	return json.Number(text), nil
}

func unknown(why string) error {
	return fmt.Errorf("%w: %s", ErrUnknown, why)
}
