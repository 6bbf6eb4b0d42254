//go:build unix

package page

import (
	"fmt"
	"math"
	"net/http"
	"regexp"
	"strconv"
	"strings"
)

// rgb is a color in linear sRGB, 0 to 1.
type rgb [3]float64

var channels = regexp.MustCompile(`[\d.]+`)

// newRGB reads a computed color. One that is not opaque lies on ground.
func newRGB(computed string, ground rgb) (c rgb) {
	numbers := channels.FindAllString(computed, -1)
	alpha := 1.
	if len(numbers) > 3 {
		alpha, _ = strconv.ParseFloat(numbers[3], 64)
	}
	for i := range c {
		value, _ := strconv.ParseFloat(numbers[i], 64)
		c[i] = linear(alpha*value/255 + (1-alpha)*encoded(ground[i]))
	}
	return c
}

func linear(v float64) float64 {
	if v <= .04045 {
		return v / 12.92
	}
	return math.Pow((v+.055)/1.055, 2.4)
}

func encoded(v float64) float64 {
	if v <= .0031308 {
		return v * 12.92
	}
	return 1.055*math.Pow(v, 1/2.4) - .055
}

// contrast is WCAG's, 1 to 21.
func contrast(a, b rgb) float64 {
	luminance := func(c rgb) float64 { return .2126*c[0] + .7152*c[1] + .0722*c[2] + .05 }
	return max(luminance(a)/luminance(b), luminance(b)/luminance(a))
}

type matrix [3]rgb

func (m matrix) of(c rgb) (product rgb) {
	for i, row := range m {
		product[i] = max(0, row[0]*c[0]+row[1]*c[1]+row[2]*c[2])
	}
	return product
}

// eyes are by Machado, Oliveira and Fernandes (2009), at full severity.
var eyes = map[string]matrix{
	"full color":   {{1, 0, 0}, {0, 1, 0}, {0, 0, 1}},
	"protanopia":   {{.152286, 1.052583, -.204868}, {.114503, .786281, .099216}, {-.003882, -.048116, 1.051998}},
	"deuteranopia": {{.367322, .860646, -.227968}, {.280085, .672501, .047413}, {-.011820, .042940, .968881}},
}

// difference is the distance in Ottosson's OKLab: black and white are 1 apart,
// and the finest that eyes tell about .02.
func difference(a, b rgb) float64 {
	lab := func(c rgb) rgb {
		lms := matrix{{.4122214708, .5363325363, .0514459929}, {.2119034982, .6806995451, .1073969566}, {.0883024619, .2817188376, .6299787005}}.of(c)
		for i := range lms {
			lms[i] = math.Cbrt(lms[i])
		}
		var lab rgb
		for i, row := range (matrix{{.2104542553, .7936177850, -.0040720468}, {1.9779984951, -2.4285922050, .4505937099}, {.0259040371, .7827717662, -.8086757660}}) {
			lab[i] = row[0]*lms[0] + row[1]*lms[1] + row[2]*lms[2]
		}
		return lab
	}
	p, q := lab(a), lab(b)
	return math.Hypot(math.Hypot(p[0]-q[0], p[1]-q[1]), p[2]-q[2])
}

// look is what the browser computed for a revision.
type look struct {
	Name                   string
	Color, Texture         string // of its bar
	Edge, Track            string
	Slice, SliceEdge, Plot string
	Label, Dot, DotTexture string
	Failed, FailedLabel    string // of a failed dot's border
	Panel, Text, Muted     string
	Nobody, NobodyLabel    string
}

// testColors computes from the styles of both themes what eyes can tell.
func testColors(tab *tab, _ string) {
	tab.load(standIn(tab.T, func(w http.ResponseWriter, i int) {
		if i%20 == 19 {
			http.Error(w, "", http.StatusBadGateway)
			return
		}
		w.Header().Set("X-Revision", fmt.Sprint("v", 1+i%8))
		if i/8%2 == 1 {
			http.Error(w, "", http.StatusInternalServerError)
		}
	}))
	tab.setRate(50)
	tab.until("revisions.children.length === 8 && failures.children.length === 9")
	tab.pause()

	for _, theme := range []string{"light", "dark"} {
		tab.do("Emulation.setEmulatedMedia", params{"features": []params{{"name": "prefers-color-scheme", "value": theme}}})
		tab.until(fmt.Sprintf("matchMedia('(prefers-color-scheme: %s)').matches", theme))
		var looks []look
		tab.eval(`[...revisions.children].map(item => {
			const style = selector => getComputedStyle(item.querySelector(selector));
			const page = selector => getComputedStyle(document.querySelector(selector.replaceAll('NAME', item.dataset.name)));
			return {
				name: item.dataset.name,
				color: style('.ok').backgroundColor, texture: style('.ok').backgroundImage,
				edge: style('.ok').borderTopColor, track: style('.bar').backgroundColor,
				slice: page('#columns [data-name=NAME]').backgroundColor + page('#columns [data-name=NAME]').backgroundImage,
				sliceEdge: page('#columns [data-name=NAME]').borderTopColor, plot: page('#timeline').backgroundColor,
				label: style('.dot').color, dot: style('.dot').backgroundColor, dotTexture: style('.dot').backgroundImage,
				failed: page('#dots .failed[title$=NAME]').borderTopColor, failedLabel: page('#dots .failed[title$=NAME]').color,
				panel: page('section').backgroundColor, text: page('body').color, muted: page('.muted').color,
				nobody: page('#dots .failed[title="502"]').backgroundColor, nobodyLabel: page('#dots .failed[title="502"]').color,
			};
		})`, &looks)
		tab.eyesOn(theme, looks)
	}
}

func (tab *tab) eyesOn(theme string, looks []look) {
	tab.Helper()
	atLeast := func(want float64, what, a, b string) {
		tab.Helper()
		ground := newRGB(b, rgb{})
		if got := contrast(newRGB(a, ground), ground); got < want {
			tab.Errorf("%s: %s, %s on %s: contrast %.2f, want %v", theme, what, a, b, got, want)
		}
	}
	confused := 0 // by color alone
	for i, l := range looks {
		atLeast(3, l.Name+"'s bar's edge", l.Edge, l.Track)
		atLeast(3, l.Name+"'s edge in the timeline", l.SliceEdge, l.Plot)
		atLeast(3, "a failed dot's border", l.Failed, l.Panel)
		atLeast(4.5, l.Name+"'s label", l.Label, l.Dot)
		atLeast(4.5, l.Name+"'s failed label", l.FailedLabel, l.Dot)
		atLeast(4.5, "text", l.Text, l.Panel)
		atLeast(4.5, "muted text", l.Muted, l.Panel)
		atLeast(4.5, "the mark of nobody's failure", l.NobodyLabel, l.Nobody)
		if l.Texture != "none" {
			ink := regexp.MustCompile(`rgba?\([^)]*\)`).FindString(l.Texture)
			dot := newRGB(l.Dot, rgb{})
			if got := contrast(newRGB(l.Label, rgb{}), newRGB(ink, dot)); got < 4.5 {
				tab.Errorf("%s: %s's label on its texture's %s: contrast %.2f", theme, l.Name, ink, got)
			}
			if got := contrast(newRGB(ink, dot), dot); got < 1.5 {
				tab.Errorf("%s: %s's texture has a contrast of %.2f: it is hardly seen", theme, l.Name, got)
			}
		}
		dotTexture := strings.TrimPrefix(l.DotTexture, "radial-gradient(closest-side, "+l.Color+" 70%, rgba(0, 0, 0, 0) 75%), ")
		if want := l.Color + l.Texture; l.Slice != want || l.Dot+dotTexture != want {
			tab.Errorf("%s: %s has the bar %s, the slice %s and the dot %s%s", theme, l.Name, want, l.Slice, l.Dot, l.DotTexture)
		}
		for _, other := range looks[:i] {
			for name, eye := range eyes {
				got := difference(eye.of(newRGB(l.Color, rgb{})), eye.of(newRGB(other.Color, rgb{})))
				if got >= .1 {
					continue
				}
				confused++
				if l.Texture == other.Texture {
					tab.Errorf("%s: with %s %s and %s are one color (%.3f) and one texture", theme, name, other.Name, l.Name, got)
				}
			}
		}
	}
	if confused < 6 { // v3, v4 and v8 with either
		tab.Errorf("%s: only %d pairs of colors look alike: the simulation sees too much", theme, confused)
	}
}
