package stock

import (
	"cmp"
	"mime"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

const (
	textType = "text/plain"
	jsonType = "application/json"
	htmlType = "text/html"
)

// preferred returns the offer that the Accept header (RFC 9110, section 12.5.1)
// prefers: the highest q, then what it names more exactly, then what it names
// first. The first offer is for clients that leave it open or accept none.
func preferred(header http.Header, offers ...string) string {
	accept := header["Accept"]
	if len(accept) == 0 || accept[0] == "*/*" && len(accept) == 1 {
		return offers[0]
	}
	ranges := strings.Split(strings.Join(accept, ","), ",")
	return slices.MaxFunc(offers, func(a, b string) int {
		return matchOf(a, ranges).compare(matchOf(b, ranges))
	})
}

// match tells how an offer fits the Accept header.
type match struct {
	q         float64
	exactness int // 3 by its name, 2 by its kind, 1 by */*, 0 not at all
	place     int
}

func (m match) compare(other match) int {
	return cmp.Or(
		cmp.Compare(m.q, other.q),
		cmp.Compare(m.exactness, other.exactness),
		cmp.Compare(other.place, m.place))
}

// matchOf finds the range that fits offer most exactly.
func matchOf(offer string, ranges []string) match {
	kind, _, _ := strings.Cut(offer, "/")
	exactness := map[string]int{offer: 3, kind + "/*": 2, "*/*": 1}
	var best match
	for place, r := range ranges {
		name, params, err := mime.ParseMediaType(r)
		if err != nil || exactness[name] <= best.exactness {
			continue
		}
		best = match{q: 1, exactness: exactness[name], place: place}
		if q, ok := params["q"]; ok {
			best.q, _ = strconv.ParseFloat(q, 64)
		}
	}
	if !(best.q > 0 && best.q <= 1) { // a no, or no number
		return match{}
	}
	return best
}
