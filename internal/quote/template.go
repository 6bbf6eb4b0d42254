package quote

import (
	"errors"
	"net/url"
	"regexp"
	"strconv"
	"strings"
)

// Template is a provider's URL with places for the ticker and the key.
type Template struct {
	url, host, key string
}

// ParseTemplate checks that template is an http or https URL with {ticker},
// and perhaps {key}, in its path or query. Its errors do not repeat the
// template, which may contain a key.
func ParseTemplate(template string) (Template, error) {
	u, err := url.Parse(Template{url: template, key: "KEY"}.expand("AAPL"))
	// net/url refuses a brace in a host, and allows it in a path and a query
	_, misplaced := url.Parse(template)
	switch {
	case err != nil, u.Scheme != "http" && u.Scheme != "https", u.Hostname() == "":
		return Template{}, errors.New("want an http or https URL")
	case u.User != nil:
		return Template{}, errors.New("a user in the URL is not supported; put {key} in its path or query")
	case strings.Contains(template, "#"):
		return Template{}, errors.New("what follows # in a URL is not sent; write a # as %23")
	case !strings.Contains(template, "{ticker}"):
		return Template{}, errors.New("want {ticker} where the ticker belongs")
	case misplaced != nil:
		return Template{}, errors.New("{ticker} and {key} belong in the path or query")
	}
	return Template{url: template, host: u.Host}, nil
}

// WithKey returns the template with what {key} stands for.
func (t Template) WithKey(key string) Template {
	t.key = key
	return t
}

// NeedsKey tells whether the template has a place for a key.
func (t Template) NeedsKey() bool { return strings.Contains(t.url, "{key}") }

// Host is the provider's host, with the port if the template names one.
func (t Template) Host() string { return t.host }

// redact returns text with {key} in place of the key, whether that is written
// as it is, escaped as in a URL, or quoted as in Go.
func (t Template) redact(text string) string {
	if t.key == "" {
		return text
	}
	quoted := strconv.Quote(t.key)
	forms := []string{t.key, quoted[1 : len(quoted)-1], escape(t.key), url.QueryEscape(t.key), url.PathEscape(t.key)}
	for i, form := range forms {
		forms[i] = regexp.QuoteMeta(form)
	}
	// some write %2F as %2f
	return regexp.MustCompile("(?i)"+strings.Join(forms, "|")).ReplaceAllLiteralString(text, "{key}")
}

// expand returns the URL for a ticker.
func (t Template) expand(ticker string) string {
	return strings.NewReplacer("{ticker}", escape(ticker), "{key}", escape(t.key)).Replace(t.url)
}

// escape makes s safe in a path and in a query alike.
func escape(s string) string {
	return strings.ReplaceAll(url.QueryEscape(s), "+", "%20")
}
