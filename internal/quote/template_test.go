package quote

import (
	"strings"
	"testing"
)

func TestParseTemplate(t *testing.T) {
	for template, want := range map[string]string{
		"https://api.example.com/{ticker}":                   "api.example.com",
		"HTTP://api.example.com:8080/p?s={ticker}&k={key}":   "api.example.com:8080",
		"http://[::1]:8080?s={ticker}":                       "[::1]:8080",
		"https://api.example.com/{key}/{ticker}?again={key}": "api.example.com",
	} {
		got, err := ParseTemplate(template)
		if err != nil || got.Host() != want || got.NeedsKey() != strings.Contains(template, "key") {
			t.Errorf("%s: %v, host %s, needs key: %t", template, err, got.Host(), got.NeedsKey())
		}
	}

	for template, want := range map[string]string{
		"":                                      "want an http or https URL",
		"secret":                                "want an http or https URL",
		"secret.example.com/{ticker}":           "want an http or https URL",
		"/secret/{ticker}":                      "want an http or https URL",
		"//secret.example.com/{ticker}":         "want an http or https URL",
		"ftp://secret.example.com/{ticker}":     "want an http or https URL",
		"file:///secret/{ticker}":               "want an http or https URL",
		"http:secret/{ticker}":                  "want an http or https URL",
		"https:///secret/{ticker}":              "want an http or https URL",
		"https://:443/secret/{ticker}":          "want an http or https URL",
		"https://secret.example.com:x/{ticker}": "want an http or https URL",
		"https://secret .example.com/{ticker}":  "want an http or https URL",
		"https://example.com/{ticker}%secret":   "want an http or https URL",
		"https://example.com/{ticker}\nsecret":  "want an http or https URL",
		"https://u:secret@example.com/{ticker}": "a user in the URL is not supported; put {key} in its path or query",
		"https://{key}@example.com/{ticker}":    "a user in the URL is not supported; put {key} in its path or query",
		"https://example.com/secret":            "want {ticker} where the ticker belongs",
		"https://example.com/{TICKER}/secret":   "want {ticker} where the ticker belongs",
		"https://{ticker}.example.com/secret":   "{ticker} and {key} belong in the path or query",
		"https://{key}.example.com/{ticker}":    "{ticker} and {key} belong in the path or query",
		"https://example.com{ticker}":           "{ticker} and {key} belong in the path or query",
		"https://example.com/secret#{ticker}":   "what follows # in a URL is not sent; write a # as %23",
		"https://example.com/{ticker}?k=secr#t": "what follows # in a URL is not sent; write a # as %23",
	} {
		got, err := ParseTemplate(template)
		if err == nil || err.Error() != want || got != (Template{}) {
			t.Errorf("%q: %v, want %s", template, err, want)
		}
	}
}

func TestRedact(t *testing.T) {
	for _, test := range []struct{ key, text, want string }{
		{"s3cret", "/AAPL?key=s3cret", "/AAPL?key={key}"},
		{"s3cret", "S3CRET s3crets3cret", "{key} {key}{key}"},
		{"a&b c/+", "raw a&b c/+", "raw {key}"},
		{"a&b c/+", "as sent a%26b%20c%2F%2B", "as sent {key}"},
		{"a&b c/+", "in lower case a%26b%20c%2f%2b", "in lower case {key}"},
		{"a&b c/+", "of a query a%26b+c%2F%2B", "of a query {key}"},
		{"a&b c/+", "of a path a&b%20c%2F+", "of a path {key}"},
		{`a"b\c`, `quoted "a\"b\\c"`, `quoted "{key}"`},
		{"$1.*", "a pattern $1.* is none", "a pattern {key} is none"},
		{"", "nothing to replace", "nothing to replace"},
	} {
		if got := (Template{}).WithKey(test.key).redact(test.text); got != test.want {
			t.Errorf("%q of key %q: %q, want %q", test.text, test.key, got, test.want)
		}
	}
}
