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

	// in a rehearsal its controls have their place from the start, so that
	// nothing moves when the script fills them
	plain, rehearsed = newDocument(" hidden"), newDocument("")

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
		"Content-Security-Policy": {policy},
		"Cache-Control":           {"no-store"},
		"Referrer-Policy":         {"no-referrer"},
	}
)

type document struct {
	body   []byte
	length []string
}

func newDocument(hidden string) document {
	body := strings.NewReplacer("{{css}}", css, "{{js}}", js, "{{hidden}}", hidden).Replace(html)
	return document{[]byte(body), []string{strconv.Itoa(len(body))}}
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
	for name, values := range headers {
		header[name] = values
	}
	document := plain
	if header.Get("X-Rehearsal") != "" {
		document = rehearsed
	}
	header["Content-Length"] = document.length
	w.Write(document.body) // an error here is a client that has left
}
