package stock

import (
	"cmp"
	"mime"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// The media types of answers.
const (
	Text = "text/plain"
	JSON = "application/json"
	HTML = "text/html"
)

// Preferred returns the offer that the Accept header names with the highest q,
// of equals the one that it names first, and the first offer if it names none.
//
// RFC 9110 has more: that a wildcard stands for each offer. Here it stands for
// none, which tells a browser, a JSON client and curl apart just as well.
func Preferred(header http.Header, offers ...string) string {
	preferred, highest := offers[0], 0.0
	for _, line := range header["Accept"] {
		for element := range strings.SplitSeq(line, ",") {
			name, params, err := mime.ParseMediaType(element)
			if err != nil || !slices.Contains(offers, name) {
				continue
			}
			q, err := strconv.ParseFloat(cmp.Or(params["q"], "1"), 64)
			if err == nil && q > highest && q <= 1 {
				preferred, highest = name, q
			}
		}
	}
	return preferred
}
