// Package page is the picture of the split for a browser: it asks the address
// it came from again and again, and draws which revision gave each answer. It
// is the same whichever revision serves it, and in a rehearsal.
package page

import (
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"io"
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
)

// Serve writes the page to w, whose other headers the caller has set. The page
// is put together at each visit: visits are few, and a pod starts without it.
func Serve(w http.ResponseWriter) {
	document := strings.NewReplacer("{{css}}", css, "{{js}}", js).Replace(html)
	// The document may use what it brings along, and ask where it came from.
	policy := "default-src 'none'; script-src " + source(js) + "; style-src " + source(css) +
		"; connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

	header := w.Header()
	header.Set("Content-Type", "text/html; charset=utf-8")
	header.Set("Content-Length", strconv.Itoa(len(document)))
	header.Set("Content-Security-Policy", policy)
	header.Set("Cache-Control", "no-store")
	header.Set("Referrer-Policy", "no-referrer")
	io.WriteString(w, document) // An error here is a client that has left.
}

// source names an inlined text in a Content-Security-Policy.
func source(text string) string {
	sum := sha256.Sum256([]byte(text))
	return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
}
