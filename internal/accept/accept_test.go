package accept

import (
	"net/http"
	"strings"
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
		{[]string{"text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}, "html", "text"},
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
		// parameters besides q do not count: of ranges for the same type, the
		// first does
		{[]string{"text/plain;format=fixed;q=0.4, text/plain;q=0.7, application/json;q=0.5"}, "json", "json"},
		{[]string{"text/plain;q=0.7, text/plain;format=fixed;q=0.4, application/json;q=0.5"}, "text", "text"},
		{[]string{"application/json;profile=x, */*"}, "json", "json"},
		{[]string{"text/*;q=0.3, text/plain;q=0.7, text/plain;format=flowed, text/plain;format=fixed;q=0.4, */*;q=0.5"}, "text", "text"}, // RFC 9110's
		{[]string{`text/plain;x="a;q=0", application/json;q=0.5`}, "text", "text"},

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
		{[]string{"text/plain;q=high, text/*"}, "text", "text"},
		{[]string{"application/json;q=0.1;q=0.9, text/plain;q=0.1"}, "text", "text"},
		{[]string{`text/plain;x="never ends, application/json`}, "json", "json"},
	} {
		types := map[string]string{"text": Text, "json": JSON, "html": HTML}
		header := http.Header{"Accept": test.accept}
		if got := Preferred(header, Text, JSON, HTML); got != types[test.index] {
			t.Errorf("Accept: %q: %s at the index, want %s", test.accept, got, types[test.index])
		}
		if got := Preferred(header, Text, JSON); got != types[test.elsewhere] {
			t.Errorf("Accept: %q: %s, want %s", test.accept, got, types[test.elsewhere])
		}
	}
}

// The longest header that the server takes is read in little time.
func BenchmarkLongHeader(b *testing.B) {
	header := http.Header{"Accept": {strings.Repeat("a/b;q=0.5,", 64<<10/10)}}
	b.ReportAllocs()
	for b.Loop() {
		Preferred(header, Text, JSON, HTML)
	}
}
