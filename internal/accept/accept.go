// Package accept chooses the media type of an answer.
package accept

import (
	"cmp"
	"mime"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// The media types that this service offers.
const (
	Text = "text/plain"
	JSON = "application/json"
	HTML = "text/html"
)

// mediaRange is one element of an Accept header, such as text/*;q=0.5.
type mediaRange struct {
	name string
	q    float64
}

// Preferred returns the offer that the Accept header (RFC 9110, section 12.5.1)
// prefers: the one with the highest q, then the one that is named more exactly,
// then the one that is named first. A client that has no preference, or accepts
// none of the offers, gets the first.
func Preferred(header http.Header, offers ...string) string {
	ranges := parse(strings.Join(header["Accept"], ","))
	slices.SortStableFunc(ranges, func(a, b mediaRange) int {
		return strings.Count(a.name, "*") - strings.Count(b.name, "*")
	})
	preferred, best := offers[0], 0.0
	judged := map[string]bool{} // each offer by its first range, the most exact
	for _, r := range ranges {
		for _, offer := range offers {
			if judged[offer] || !r.matches(offer) {
				continue
			}
			judged[offer] = true
			if r.q > best {
				preferred, best = offer, r.q
			}
		}
	}
	return preferred
}

// parse returns the header's media ranges, without those that are malformed.
func parse(header string) []mediaRange {
	var ranges []mediaRange
	for element := range strings.SplitSeq(header, ",") {
		name, params, err := mime.ParseMediaType(element)
		if err != nil {
			continue
		}
		q, err := strconv.ParseFloat(cmp.Or(params["q"], "1"), 64)
		if err == nil && q >= 0 && q <= 1 { // NaN is neither
			ranges = append(ranges, mediaRange{name, q})
		}
	}
	return ranges
}

func (r mediaRange) matches(offer string) bool {
	kind, _, _ := strings.Cut(offer, "/")
	return r.name == offer || r.name == kind+"/*" || r.name == "*/*"
}
