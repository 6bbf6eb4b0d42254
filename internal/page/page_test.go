package page

import (
	"crypto/sha256"
	"encoding/base64"
	"net/http/httptest"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

func TestHeaders(t *testing.T) {
	w := httptest.NewRecorder()
	w.Header().Set("X-Revision", "the caller's")
	Serve(w)
	body := w.Body.String()
	for name, want := range map[string]string{
		"X-Revision":      "the caller's",
		"Content-Type":    "text/html; charset=utf-8",
		"Content-Length":  strconv.Itoa(len(body)),
		"Cache-Control":   "no-store",
		"Referrer-Policy": "no-referrer",
		// A browser hashes what is between the tags.
		"Content-Security-Policy": "default-src 'none'; script-src " + hashOf(body, "script") +
			"; style-src " + hashOf(body, "style") +
			"; connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
	} {
		if got := w.Header().Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}

func hashOf(body, tag string) string {
	_, rest, _ := strings.Cut(body, "<"+tag+">")
	text, _, _ := strings.Cut(rest, "</"+tag+">")
	sum := sha256.Sum256([]byte(text))
	return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
}

func TestDocumentStandsAlone(t *testing.T) {
	w := httptest.NewRecorder()
	Serve(w)
	// The name of SVG's namespace is not asked for.
	body := strings.ReplaceAll(w.Body.String(), "xmlns='http://www.w3.org/2000/svg'", "")
	outside := regexp.MustCompile(`(?i)https?:|"//|\bsrc=|@import|url\(|<link[^>]*href="[^d]|\sstyle=|\son[a-z]+=|\{\{|\r`)
	for _, found := range outside.FindAllString(body, -1) {
		t.Errorf("the document has %q", found)
	}
}
