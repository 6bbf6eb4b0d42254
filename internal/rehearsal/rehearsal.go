// Package rehearsal splits traffic between revisions in one process, as
// Knative's gateway does between pods, for a look at the split without a
// cluster.
package rehearsal

import (
	"maps"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
)

// latestTag is at the revision made last, as in the article's files.
const latestTag = "latest"

// RevisionName is the name that the tag's revision has on the cluster.
func RevisionName(tag string) string { return "stock-service-example-" + tag }

type gateway struct {
	revision func(tag string) http.Handler
	draw     func(n int) int
	origins  http.CrossOriginProtection

	changing sync.Mutex
	traffic  atomic.Pointer[traffic]
}

// traffic is what requests find at one moment. It is not changed: a new split
// makes another.
type traffic struct {
	split Split
	text  string // the split
	// revisions by their tags: those that the split leaves out are kept
	revisions map[string]http.Handler
	latest    string
}

// New returns a handler that passes a request for the host TAG.localhost to
// that tag's revision, and any other to one drawn by percent. At /rehearsal it
// tells the split and changes it. revision makes a tag's revision, once. draw
// returns a random number in [0, n), as rand.IntN does; many goroutines call
// it.
func New(split Split, revision func(tag string) http.Handler, draw func(n int) int) http.Handler {
	g := &gateway{revision: revision, draw: draw}
	g.traffic.Store((&traffic{}).next(split, revision))
	return g
}

// next returns the traffic with another split.
func (t *traffic) next(split Split, revision func(tag string) http.Handler) *traffic {
	next := &traffic{split: split, text: split.String(), revisions: map[string]http.Handler{}, latest: t.latest}
	maps.Copy(next.revisions, t.revisions)
	for _, target := range split {
		if next.revisions[target.Tag] == nil {
			next.revisions[target.Tag] = revision(target.Tag)
			next.latest = target.Tag
		}
	}
	return next
}

// change puts split in the place of the one before.
func (g *gateway) change(split Split) error {
	g.changing.Lock()
	defer g.changing.Unlock()
	next := g.traffic.Load().next(split, g.revision)
	if len(next.revisions) > maxRevisions {
		return errTooMany
	}
	g.traffic.Store(next)
	return nil
}

func (g *gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == path {
		g.serveSplit(w, r)
		return
	}
	host := r.Host
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	now := g.traffic.Load()
	tag, tagged := strings.CutSuffix(strings.ToLower(host), ".localhost")
	if !tagged {
		w.Header().Set("X-Rehearsal", now.text)
		now.revisions[now.split.drawn(g.draw)].ServeHTTP(w, r)
		return
	}
	if tag == latestTag {
		tag = now.latest
	}
	revision := now.revisions[tag]
	if revision == nil {
		http.Error(w, "no revision has the tag "+tag, http.StatusNotFound)
		return
	}
	revision.ServeHTTP(w, r)
}

// drawn returns a target's tag, each as likely as its percent.
func (s Split) drawn(draw func(n int) int) string {
	n := draw(100)
	for _, t := range s {
		if n -= t.Percent; n < 0 {
			return t.Tag
		}
	}
	panic("the percents do not add up to 100") // ParseSplit has checked
}
