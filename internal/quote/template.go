package quote

import (
	"errors"
	"net/url"
	"strconv"
	"strings"
)

// Template is a provider's URL with places for the ticker and the key. The zero
// Template is none.
type Template struct {
	Host     string // the provider's, with the port if the template names one
	url, key string
}

// ParseTemplate checks that template is an http or https URL with {ticker},
// and perhaps {key}, in its path or query. The key must be UTF-8. Its errors do
// not repeat the template, which may contain a key.
func ParseTemplate(template, key string) (Template, error) {
	u, err := url.Parse(Template{url: template, key: "KEY"}.expand("AAPL"))
	// net/url refuses a brace in a host, and allows it in a path and a query.
	_, misplaced := url.Parse(template)
	switch {
	case err != nil, u.Scheme != "http" && u.Scheme != "https", u.Hostname() == "":
		return Template{}, errors.New("want an http or https URL")
	case u.User != nil:
		return Template{}, errors.New("a user in the URL is not supported; put {key} in its path or query")
	case strings.Contains(template, "#"):
		return Template{}, errors.New("what follows # in a URL is not sent; write a # as %23")
	case misplaced != nil, !strings.Contains(template, "{ticker}"):
		return Template{}, errors.New("want {ticker} in the path or query, and {key} nowhere else")
	case key == "" && strings.Contains(template, "{key}"):
		return Template{}, errors.New("has {key}, but QUOTE_KEY is unset")
	}
	return Template{u.Host, template, key}, nil
}

// IsZero tells whether there is no template.
func (t Template) IsZero() bool { return t == Template{} }

// redact returns text with {key} in place of the key, whether that is written
// as it is, escaped as in a URL, or quoted as in Go.
func (t Template) redact(text string) string {
	if t.key == "" {
		return text
	}
	quoted := strconv.Quote(t.key)
	forms := []string{t.key, quoted[1 : len(quoted)-1], escape(t.key), url.QueryEscape(t.key), url.PathEscape(t.key)}
	for i := 0; i < len(text); i++ {
		for _, form := range forms { // in whatever case: some write %2F as %2f
			if end := i + len(form); end <= len(text) && strings.EqualFold(text[i:end], form) {
				text = text[:i] + "{key}" + text[end:]
				i += len("{key}") - 1
				break
			}
		}
	}
	return text
}

// expand returns the URL for a ticker.
func (t Template) expand(ticker string) string {
	return strings.NewReplacer("{ticker}", escape(ticker), "{key}", escape(t.key)).Replace(t.url)
}

// escape makes s safe in a path and in a query alike.
func escape(s string) string {
	return strings.ReplaceAll(url.QueryEscape(s), "+", "%20")
}
