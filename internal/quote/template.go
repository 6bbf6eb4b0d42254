package quote

import (
	"errors"
	"net/url"
	"strings"
)

// Template is a provider's URL with places for the ticker and the key.
type Template struct {
	url, host, key string
}

// ParseTemplate checks that template is an http or https URL with {ticker},
// and perhaps {key}, in its path or query. Its errors do not repeat the
// template, which may have a key in it.
func ParseTemplate(template, key string) (Template, error) {
	u, err := url.Parse(expand(template, "AAPL", key))
	// a brace is refused in a host, and allowed in a path and a query
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
	return Template{url: template, host: u.Host, key: key}, nil
}

// NeedsKey tells whether the template has a place for a key.
func (t Template) NeedsKey() bool { return strings.Contains(t.url, "{key}") }

// Host is the provider's host, with the port if the template names one.
func (t Template) Host() string { return t.host }

func expand(template, ticker, key string) string {
	return strings.NewReplacer("{ticker}", escape(ticker), "{key}", escape(key)).Replace(template)
}

// escape makes s safe in a path and in a query alike.
func escape(s string) string {
	return strings.ReplaceAll(url.QueryEscape(s), "+", "%20")
}
