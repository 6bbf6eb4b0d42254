package quote

import (
	"bytes"
	"encoding/json"
	"errors"
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
		decoder.UseNumber()  // keeps the digits as they are.
		decoder.Decode(&doc) // cannot fail: the body is valid.
	} else if len(pointer) > 0 {
		return "", badGateway("the quote provider's answer is not JSON")
	}
	value, ok := pointer.Find(doc)
	if !ok {
		return "", unknown("the quote provider's answer has nothing where QUOTE_POINTER points")
	}
	switch v := value.(type) {
	case nil:
		return "", unknown("the quote provider's price is null")
	case json.Number:
		return parsePrice(v.String())
	case string:
		return parsePrice(v)
	}
	return "", badGateway("the quote provider's answer has no price where QUOTE_POINTER points")
}

// parsePrice accepts a finite number other than 0.
func parsePrice(text string) (json.Number, error) {
	switch word := strings.ToUpper(strings.TrimSpace(text)); word {
	case "", "-", "NA", "N/A", "N/D":
		return "", unknown(fmt.Sprintf("the quote provider's price is %q", word))
	}
	number, err := strconv.ParseFloat(text, 64)
	if err != nil || len(text) > maxPrice || !json.Valid([]byte(text)) { // 0x1F is not valid.
		return "", badGateway("the quote provider's price is not a number")
	}
	if number == 0 {
		return "", unknown("the quote provider's price is 0")
	}
	return json.Number(text), nil
}

func unknown(why string) error { return fmt.Errorf("%w: %s", ErrUnknown, why) }

// Pointer is a JSON pointer (RFC 6901). The zero Pointer is the whole document.
type Pointer []string

// ParsePointer parses s: empty, or tokens that each begin with a slash.
func ParsePointer(s string) (Pointer, error) {
	if s != "" && s[0] != '/' {
		return nil, errors.New("a JSON pointer begins with a slash, as in /chart/result/0/price")
	}
	tokens := strings.Split(s, "/")[1:]
	for i, t := range tokens {
		if strings.Contains(strings.NewReplacer("~0", "", "~1", "").Replace(t), "~") {
			return nil, errors.New("in a JSON pointer, ~ is written ~0 and / within a name is written ~1")
		}
		tokens[i] = strings.NewReplacer("~1", "/", "~0", "~").Replace(t)
	}
	return tokens, nil
}

// Find returns the value in doc, a decoded JSON document, if there is one.
func (p Pointer) Find(doc any) (any, bool) {
	for _, token := range p {
		found := false
		switch v := doc.(type) {
		case map[string]any:
			doc, found = v[token]
		case []any:
			i, err := strconv.Atoi(token)
			// "007" and "+7" are no indices in RFC 6901
			if err == nil && strconv.Itoa(i) == token && 0 <= i && i < len(v) {
				doc, found = v[i], true
			}
		}
		if !found {
			return nil, false
		}
	}
	return doc, true
}
