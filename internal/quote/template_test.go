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
		got, err := ParseTemplate(template, "secret")
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
		got, err := ParseTemplate(template, "secret")
		if err == nil || err.Error() != want || got != (Template{}) {
			t.Errorf("%q: %v, want %s", template, err, want)
		}
	}
}
