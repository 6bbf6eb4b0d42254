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

func served(t *testing.T) (header func(name string) string, body string) {
	t.Helper()
	w := httptest.NewRecorder()
	w.Header().Set("X-Revision", "the caller's")
	Serve(w)
	if w.Code != 200 {
		t.Fatalf("status %d", w.Code)
	}
	return w.Result().Header.Get, w.Body.String()
}

func TestHeaders(t *testing.T) {
	header, body := served(t)
	for name, want := range map[string]string{
		"X-Revision":      "the caller's",
		"Content-Type":    "text/html; charset=utf-8",
		"Content-Length":  strconv.Itoa(len(body)),
		"Cache-Control":   "no-store",
		"Referrer-Policy": "no-referrer",
	} {
		if got := header(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}

// TestPolicy checks the hashes against the text that a browser hashes: what is
// between the tags.
func TestPolicy(t *testing.T) {
	header, body := served(t)
	want := "default-src 'none'; script-src " + hashOf(t, body, "script") + "; style-src " + hashOf(t, body, "style") +
		"; connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
	if got := header("Content-Security-Policy"); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func hashOf(t *testing.T, body, tag string) string {
	t.Helper()
	parts := regexp.MustCompile(`(?s)<`+tag+`>(.*?)</`+tag+`>`).FindAllStringSubmatch(body, -1)
	if len(parts) != 1 || len(parts[0][1]) < 1000 {
		t.Fatalf("want one <%s> with some text", tag)
	}
	sum := sha256.Sum256([]byte(parts[0][1]))
	return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
}

func TestDocumentStandsAlone(t *testing.T) {
	_, body := served(t)
	// The name of SVG's namespace is not asked for.
	body = strings.ReplaceAll(body, "xmlns='http://www.w3.org/2000/svg'", "")
	outside := regexp.MustCompile(`(?i)https?:|"//|\bsrc=|@import|url\(|<link[^>]*href="[^d]|\sstyle=|\son[a-z]+=|\{\{|\r`)
	for _, found := range outside.FindAllString(body, -1) {
		t.Errorf("the document has %q", found)
	}
}
