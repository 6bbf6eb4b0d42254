package quote

import (
	"errors"
	"strconv"
	"strings"
)

// Pointer is a JSON pointer (RFC 6901), parsed. The zero Pointer is the whole
// document.
type Pointer []string

// ParsePointer parses s: empty, or tokens that each begin with a slash.
func ParsePointer(s string) (Pointer, error) {
	if s == "" {
		return nil, nil
	}
	if s[0] != '/' {
		return nil, errors.New("a JSON pointer begins with a slash, as in /chart/result/0/price")
	}
	tokens := strings.Split(s[1:], "/")
	for i, t := range tokens {
		if strings.Contains(strings.NewReplacer("~0", "", "~1", "").Replace(t), "~") {
			return nil, errors.New("in a JSON pointer, ~ is written ~0 and / within a name is written ~1")
		}
		tokens[i] = strings.NewReplacer("~1", "/", "~0", "~").Replace(t)
	}
	return tokens, nil
}

// Find returns the value in doc, which encoding/json decoded into an any,
// and whether there is one.
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
