// Package page is the picture of the split for a browser: it asks the address
// it came from again and again, and draws which revision gave each answer. It
// is the same whichever revision serves it.
package page

import (
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"net/http"
	"strconv"
	"strings"
)

var (
	//go:embed page.html
	html string
	//go:embed page.css
	css string
	//go:embed page.js
	js string

	document = []byte(strings.NewReplacer("{{css}}", css, "{{js}}", js).Replace(html))

	// the document may use what it brings along, and ask where it came from
	policy = strings.Join([]string{
		"default-src 'none'",
		"script-src " + source(js),
		"style-src " + source(css),
		"connect-src 'self'",
		"img-src data:", // its icon
		"base-uri 'none'",
		"form-action 'none'",
		"frame-ancestors 'none'",
	}, "; ")

	headers = map[string][]string{
		"Content-Type":            {"text/html; charset=utf-8"},
		"Content-Length":          {strconv.Itoa(len(document))},
		"Content-Security-Policy": {policy},
		"Cache-Control":           {"no-store"},
		"Referrer-Policy":         {"no-referrer"},
	}
)

// source names an inlined text in a Content-Security-Policy.
func source(text string) string {
	sum := sha256.Sum256([]byte(text))
	return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
}

// Serve writes the page to w, whose other headers the caller has set.
func Serve(w http.ResponseWriter) {
	header := w.Header()
	for name, values := range headers {
		header[name] = values
	}
	w.Write(document) // an error here is a client that has left
}
