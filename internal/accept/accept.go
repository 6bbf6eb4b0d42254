// Package accept chooses the media type of an answer.
package accept

import (
	"cmp"
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
// prefers: the highest q, then what it names more exactly, then what it names
// first. The first offer is for clients that leave it open or accept none.
//
// It reads the header once, in place: a long one takes no more memory.
func Preferred(header http.Header, offers ...string) string {
	if len(header["Accept"]) == 0 {
		return offers[0]
	}
	matches := make([]match, len(offers))
	place := 0
	for _, line := range header["Accept"] {
		for line != "" {
			var text string
			text, line = cut(line, ',')
			place++
			r := parse(text)
			for i, offer := range offers {
				if exactness := r.fits(offer); exactness > matches[i].exactness {
					matches[i] = match{r.q, exactness, place}
				}
			}
		}
	}
	best := 0
	for i, m := range matches {
		if m.compare(matches[best]) > 0 {
			best = i
		}
	}
	return offers[best]
}

// match is the range of the Accept header that fits an offer most exactly.
type match struct {
	q         float64
	exactness int
	place     int
}

func (m match) compare(other match) int {
	if m.q == 0 && other.q == 0 {
		return 0 // neither is accepted
	}
	return cmp.Or(
		cmp.Compare(m.q, other.q),
		cmp.Compare(m.exactness, other.exactness),
		cmp.Compare(other.place, m.place))
}

// mediaRange is one element of an Accept header.
type mediaRange struct {
	name string
	// q is 0 to 1; one that is no such number is a 0.
	q float64
	// ours and foreign tell whether there are parameters besides q that our
	// answers have, and that they do not have.
	ours, foreign bool
}

func parse(text string) mediaRange {
	name, params := cut(text, ';')
	r := mediaRange{name: strings.TrimSpace(name), q: 1}
	for params != "" {
		var param string
		param, params = cut(params, ';')
		key, value, _ := strings.Cut(param, "=")
		key, value = strings.TrimSpace(key), strings.Trim(strings.TrimSpace(value), `"`)
		switch {
		case key == "":
		case strings.EqualFold(key, "q"):
			q, err := strconv.ParseFloat(value, 64)
			if err != nil || !(q >= 0 && q <= 1) { // not NaN either
				q = 0
			}
			r.q = q
		case strings.EqualFold(key, "charset") && strings.EqualFold(value, "utf-8"):
			r.ours = true
		default:
			r.foreign = true
		}
	}
	return r
}

// fits tells how exactly the range names the offer; 0 is not at all. Parameters
// that our answers do not have make it fit less than the name alone.
func (r mediaRange) fits(offer string) int {
	kind := offer[:strings.IndexByte(offer, '/')+1]
	switch named := strings.EqualFold(r.name, offer); {
	case named && r.foreign:
		return 3
	case named && r.ours:
		return 5
	case named:
		return 4
	case strings.HasSuffix(r.name, "/*") && strings.EqualFold(r.name[:len(r.name)-1], kind):
		return 2
	case r.name == "*/*":
		return 1
	}
	return 0
}

// cut splits s at the first sep that is not within a quoted string.
func cut(s string, sep byte) (before, after string) {
	quoted := false
	for i := 0; i < len(s); i++ {
		switch {
		case quoted && s[i] == '\\':
			i++
		case s[i] == '"':
			quoted = !quoted
		case s[i] == sep && !quoted:
			return s[:i], s[i+1:]
		}
	}
	return s, ""
}
