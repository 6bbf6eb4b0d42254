// Package page is the picture of the split for a browser.
package page

import "net/http"

// Serve writes the page to w.
func Serve(w http.ResponseWriter) {}
