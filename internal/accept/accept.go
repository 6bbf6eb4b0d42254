// Package accept chooses the media type of an answer.
package accept

import (
	"cmp"
	"mime"
	"net/http"
	"strconv"
	"strings"
)

// The media types that this service offers.
const (
	Text = "text/plain"
	JSON = "application/json"
	HTML = "text/html"
)

// Preferred returns the offer that the Accept header (RFC 9110, section 12.5.1)
// prefers: the one with the highest q, then the one that is named more exactly,
// then the one that is named first. A client that has no preference, or accepts
// none of the offers, gets the first.
func Preferred(header http.Header, offers ...string) string {
	ranges := parse(header["Accept"])
	preferred, best := offers[0], match{}
	for _, offer := range offers {
		m := find(ranges, offer)
		order := cmp.Or(
			cmp.Compare(m.q, best.q),
			cmp.Compare(m.exactness, best.exactness),
			cmp.Compare(best.place, m.place))
		if m.q > 0 && order > 0 {
			preferred, best = offer, m
		}
	}
	return preferred
}

// mediaRange is one element of an Accept header, such as text/*;q=0.5.
type mediaRange struct {
	name string
	q    float64
}

// parse returns the header's media ranges, without those that are malformed.
func parse(lines []string) []mediaRange {
	var ranges []mediaRange
	for _, line := range lines {
		for element := range strings.SplitSeq(line, ",") {
			if name, params, err := mime.ParseMediaType(element); err == nil {
				ranges = append(ranges, mediaRange{name, quality(params)})
			}
		}
	}
	return ranges
}

// match says how well an offer matches; the zero match is none.
type match struct {
	q         float64
	exactness int
	place     int // in the header
}

// find returns the offer's most exact match, and of those the one with the
// highest q.
func find(ranges []mediaRange, offer string) match {
	var best match
	for i, r := range ranges {
		m := match{r.q, exactness(r.name, offer), i}
		if m.exactness == 0 {
			continue
		}
		if m.exactness > best.exactness || m.exactness == best.exactness && m.q > best.q {
			best = m
		}
	}
	return best
}

// exactness tells how exactly a media range names the offer; 0 is not at all.
func exactness(name, offer string) int {
	kind, _, _ := strings.Cut(offer, "/")
	switch name {
	case offer:
		return 3
	case kind + "/*":
		return 2
	case "*/*":
		return 1
	}
	return 0
}

// quality returns the q of an element, which is 1 where it is not given, and 0
// where it is not a number from 0 to 1.
func quality(params map[string]string) float64 {
	text, given := params["q"]
	if !given {
		return 1
	}
	q, err := strconv.ParseFloat(text, 64)
	if err != nil || !(q >= 0 && q <= 1) { // NaN is neither
		return 0
	}
	return q
}
