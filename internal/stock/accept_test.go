package stock

import (
	"net/http"
	"testing"
)

func TestPreferred(t *testing.T) {
	for _, test := range []struct {
		accept           []string // the lines of the header
		index, elsewhere string
	}{
		{nil, "text", "text"},
		{[]string{""}, "text", "text"},
		{[]string{"*/*"}, "text", "text"},
		{[]string{"text/*"}, "text", "text"},
		{[]string{"text/plain"}, "text", "text"},
		{[]string{"application/json"}, "json", "json"},
		{[]string{"APPLICATION/JSON"}, "json", "json"},
		{[]string{"application/json; charset=utf-8"}, "json", "json"},
		{[]string{"application/json;q=0.001"}, "json", "json"},
		{[]string{"application/*"}, "json", "json"},
		{[]string{"application/json, text/plain, */*"}, "json", "json"},
		{[]string{browser}, "html", "text"},
		{[]string{"text/html"}, "html", "text"},
		{[]string{"text/html, application/json;q=0.5"}, "html", "json"},

		// the highest q
		{[]string{"application/json;q=0.5, text/plain"}, "text", "text"},
		{[]string{"text/plain;q=0.5, application/json;q=0.6"}, "json", "json"},
		{[]string{"text/*;q=0.9, */*"}, "json", "json"},
		{[]string{"text/plain; Q=0.5, application/json; Q=0.6"}, "json", "json"},
		// then the more exact
		{[]string{"text/*, application/json"}, "json", "json"},
		{[]string{"*/*, application/*"}, "json", "json"},
		{[]string{"*/*, text/html"}, "html", "text"},
		// then the first
		{[]string{"text/plain, application/json"}, "text", "text"},
		{[]string{"application/json, text/plain"}, "json", "json"},
		{[]string{"application/json;q=0.5, text/plain;q=0.5"}, "json", "json"},
		{[]string{"text/plain", "application/json"}, "text", "text"},
		{[]string{"application/json", "text/plain"}, "json", "json"},
		{[]string{"text/plain;q=0.1", "application/json"}, "json", "json"},
		{[]string{"application/json;q=0.9, text/plain;q=0.5, application/json;q=0.1"}, "json", "json"},
		// the most exact range holds for an offer, even if it is a no
		{[]string{"*/*;q=0.1, text/plain;q=0.9, application/json;q=0.5"}, "text", "text"},
		{[]string{"application/json;q=0, */*"}, "text", "text"},
		{[]string{"text/plain;q=0, text/html;q=0, */*"}, "json", "json"},

		// none of the offers
		{[]string{"image/png"}, "text", "text"},
		{[]string{"application/json;q=0"}, "text", "text"},
		{[]string{"application/json;q=0.000, text/html;q=0"}, "text", "text"},
		{[]string{"*/*;q=0"}, "text", "text"},
		// malformed
		{[]string{"json"}, "text", "text"},
		{[]string{"application"}, "text", "text"},
		{[]string{"application/json/x"}, "text", "text"},
		{[]string{"*/json"}, "text", "text"},
		{[]string{",;,/,=;q"}, "text", "text"},
		{[]string{"application/json;q=high"}, "text", "text"},
		{[]string{"application/json;q=-1"}, "text", "text"},
		{[]string{"application/json;q=NaN"}, "text", "text"},
		{[]string{"application/json;q=1.1"}, "text", "text"},
		{[]string{"application/json;q=Inf, text/plain"}, "text", "text"},
		{[]string{"/, application/json"}, "json", "json"},
	} {
		types := map[string]string{"text": textType, "json": jsonType, "html": htmlType}
		header := http.Header{"Accept": test.accept}
		if got := preferred(header, textType, jsonType, htmlType); got != types[test.index] {
			t.Errorf("Accept: %q: %s at the index, want %s", test.accept, got, types[test.index])
		}
		if got := preferred(header, textType, jsonType); got != types[test.elsewhere] {
			t.Errorf("Accept: %q: %s, want %s", test.accept, got, types[test.elsewhere])
		}
	}
}
