// Package page is the picture of the split for a browser: it asks the address
// it came from again and again, and draws which revision gave each answer. It
// is the same whichever revision serves it.
package page

import (
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
)

var (
	//go:embed page.html
	html string
	//go:embed page.css
	css string
	//go:embed page.js
	js string

	// in a rehearsal its controls have their place from the start, so that
	// nothing moves when the script fills them; made at the first visit, since
	// a pod that starts has none yet
	plain     = sync.OnceValue(func() string { return document(" hidden") })
	rehearsed = sync.OnceValue(func() string { return document("") })

	// the document may use what it brings along, and ask where it came from
	policy = sync.OnceValue(func() string {
		return strings.Join([]string{
			"default-src 'none'",
			"script-src " + source(js),
			"style-src " + source(css),
			"connect-src 'self'",
			"img-src data:", // its icon
			"base-uri 'none'",
			"form-action 'none'",
			"frame-ancestors 'none'",
		}, "; ")
	})
)

func document(hidden string) string {
	return strings.NewReplacer("{{css}}", css, "{{js}}", js, "{{hidden}}", hidden).Replace(html)
}

// source names an inlined text in a Content-Security-Policy.
func source(text string) string {
	sum := sha256.Sum256([]byte(text))
	return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
}

// Serve writes the page to w, whose other headers the caller has set: with
// X-Rehearsal among them it is a rehearsal's page.
func Serve(w http.ResponseWriter) {
	header := w.Header()
	document := plain()
	if header.Get("X-Rehearsal") != "" {
		document = rehearsed()
	}
	header.Set("Content-Type", "text/html; charset=utf-8")
	header.Set("Content-Length", strconv.Itoa(len(document)))
	header.Set("Content-Security-Policy", policy())
	header.Set("Cache-Control", "no-store")
	header.Set("Referrer-Policy", "no-referrer")
	io.WriteString(w, document) // an error here is a client that has left
}
