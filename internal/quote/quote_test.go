package quote

import (
	"errors"
	"strings"
	"testing"
)

func TestParseTicker(t *testing.T) {
	for s, want := range map[string]string{
		"aapl": "AAPL", "a": "A", "brk-b": "BRK-B", "^GSPC": "^GSPC", "eurusd=x": "EURUSD=X", "0700.HK": "0700.HK", "ABCDEFGHIJKLMNO": "ABCDEFGHIJKLMNO",
	} {
		if got, err := ParseTicker(s); got != want || err != nil {
			t.Errorf("%q: %q, %v, want %q", s, got, err, want)
		}
	}
	for _, s := range []string{"", "ABCDEFGHIJKLMNOP", "A B", " A", "A\n", "A/B", "A\\B", "A+B", "A?B", "A_B", "日本", "ſ", "A\xff", "..", "-", "^=.-"} {
		if got, err := ParseTicker(s); got != "" || err != ErrTicker {
			t.Errorf("%q: %q, %v", s, got, err)
		}
	}
}

// Each answer of a provider, with the pointer into it, is the price, or an
// unknown ticker "?", or an error.
func TestFindPrice(t *testing.T) {
	const (
		nothing  = "?the quote provider's answer has nothing where QUOTE_POINTER points"
		noNumber = "the quote provider's price is not a number"
	)
	for _, test := range []struct{ pointer, body, want string }{
		{"", "201.3600\n", "201.3600"},
		{"", "-37.63", "-37.63"}, // oil, on 2020-04-20
		{"", "1.7976931348623157e308", "1.7976931348623157e308"},
		{"", `"1234567.8"`, "1234567.8"},
		{"", strings.Repeat("1", 64), strings.Repeat("1", 64)},
		{"", strings.Repeat("1", 65), noNumber},
		{"", "0.00", "?the quote provider's price is 0"},
		{"", "null", "?the quote provider's price is null"},
		{"", "\n", `?the quote provider's price is ""`},
		{"", "n/a\r\n", `?the quote provider's price is "N/A"`},
		{"", `" NA "`, `?the quote provider's price is "NA"`},
		{"", "-", `?the quote provider's price is "-"`},
		{"", "n/d", `?the quote provider's price is "N/D"`},
		{"", "1e400", noNumber}, // Infinity in JavaScript
		{"", `"Inf"`, noNumber},
		{"", `" 201.36"`, noNumber},
		{"", "true", "the quote provider's answer has no price where QUOTE_POINTER points"},
		{"/price", `{"price":1}{"price":2}`, "the quote provider's answer is not JSON"},

		{"//", `{"":{"":1}}`, "1"},
		{"/a~1b/m~0n/~01", `{"a/b":{"m~n":{"~1":1}}}`, "1"},
		{"/0/a/1", `[{"a":[1,2]}]`, "2"},
		{"/2", "[1,2]", nothing},
		{"/-1", "[1,2]", nothing},
		{"/01", "[1,2]", nothing},
	} {
		pointer, err := ParsePointer(test.pointer)
		if err != nil {
			t.Fatal(err)
		}
		price, err := findPrice([]byte(test.body), pointer)
		got := price.String()
		var failure *UpstreamError
		switch {
		case errors.Is(err, ErrUnknown):
			got += "?" + strings.TrimPrefix(err.Error(), "unknown ticker: ")
		case errors.As(err, &failure) && failure.Status == 502:
			got += failure.Reason
		}
		if got != test.want {
			t.Errorf("%.30q at %q: %s, want %s", test.body, test.pointer, got, test.want)
		}
	}
	for pointer, want := range map[string]string{"price": "begins with a slash", "/a~": "~ is written ~0", "/a~2": "~ is written ~0", "/~/0": "~ is written ~0"} {
		if got, err := ParsePointer(pointer); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %q, %v", pointer, got, err)
		}
	}
}

func TestParseTemplate(t *testing.T) {
	for template, want := range map[string]string{
		"ftp://secret.example.com/{ticker}":     "want an http or https URL",
		"https://:443/secret/{ticker}":          "want an http or https URL",
		"https://example.com/{ticker}%secret":   "want an http or https URL",
		"https://{key}@example.com/{ticker}":    "a user in the URL is not supported; put {key} in its path or query",
		"https://example.com/{TICKER}/secret":   "want {ticker} in the path or query, and {key} nowhere else",
		"https://{ticker}.example.com/secret":   "want {ticker} in the path or query, and {key} nowhere else",
		"https://example.com/{ticker}?k=secr#t": "what follows # in a URL is not sent; write a # as %23",
		"https://example.com/{ticker}?k={key}":  "has {key}, but QUOTE_KEY is unset",
	} {
		if got, err := ParseTemplate(template, ""); err == nil || err.Error() != want || !got.IsZero() {
			t.Errorf("%q: %v, want %s", template, err, want)
		}
	}
}

func TestRedact(t *testing.T) {
	template := Template{key: `a"b c/+$1.*`}
	for _, text := range []string{
		`a"b c/+$1.*`,
		`a\"b c/+$1.*`,            // quoted
		"a%22b%20c%2f%2b%241.%2a", // as it is sent, but in lower case
		"a%22b+c%2F%2B%241.%2A",   // of a query
		"a%22b%20c%2F+$1.%2A",     // of a path
	} {
		if got := template.redact("/" + text + "?" + text); got != "/{key}?{key}" {
			t.Errorf("%q: %q", text, got)
		}
	}
	if got := (Template{key: "}"}).redact("}"); got != "{key}" {
		t.Errorf("a part of {key}: %q", got)
	}
}
