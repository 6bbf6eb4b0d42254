// Package rehearsal splits traffic between revisions in one process, as
// Knative's gateway does between pods, for a look at the split without a
// cluster.
package rehearsal

import (
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"

	"github.com/knative-sample/rest-api-go/internal/stock"
)

// Target is one revision's part of the traffic.
type Target struct {
	// Tag is the revision's RESOURCE, and the first label of its own host:
	// v3 of v3.localhost.
	Tag string
	// Percent of the requests, 0 to 100.
	Percent int
}

// Revision is the name that the target's revision has on the cluster.
func (t Target) Revision() string { return "stock-service-example-" + t.Tag }

// ParseSplit reads targets such as v1=40,v2=30,v3=30. The percents add up to
// 100; the tags are path segments, and differ in more than case, as their hosts
// must.
func ParseSplit(s string) ([]Target, error) {
	var split []Target
	named, sum := map[string]bool{}, 0
	for part := range strings.SplitSeq(s, ",") {
		part = strings.TrimSpace(part)
		equals := strings.LastIndex(part, "=")
		if equals < 0 {
			return nil, fmt.Errorf("%q is not name=percent", part)
		}
		tag := part[:equals]
		if err := stock.CheckResource(tag); err != nil {
			return nil, fmt.Errorf("the name %q %w", tag, err)
		}
		host := strings.ToLower(tag)
		if named[host] {
			return nil, fmt.Errorf("%q is named twice", tag)
		}
		percent, err := strconv.ParseUint(part[equals+1:], 10, 32)
		if err != nil || percent > 100 {
			return nil, fmt.Errorf("%q is not a whole percent from 0 to 100", part)
		}
		named[host] = true
		sum += int(percent)
		split = append(split, Target{tag, int(percent)})
	}
	if sum != 100 {
		return nil, fmt.Errorf("the percents add up to %d, not to 100", sum)
	}
	return split, nil
}

type gateway struct {
	split     []Target
	revisions []http.Handler // in split's order
	draw      func(n int) int
}

// New returns a handler that passes a request for the host TAG.localhost to
// that target's revision, and any other to one drawn by percent. draw returns
// a random number in [0, n), as rand.IntN does; many goroutines call it.
func New(split []Target, revision func(Target) http.Handler, draw func(n int) int) http.Handler {
	g := &gateway{split: split, draw: draw}
	for _, t := range split {
		g.revisions = append(g.revisions, revision(t))
	}
	return g
}

func (g *gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	host := r.Host
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	tag, tagged := strings.CutSuffix(strings.ToLower(host), ".localhost")
	if !tagged {
		g.revisions[g.drawn()].ServeHTTP(w, r)
		return
	}
	for i, t := range g.split {
		if strings.EqualFold(t.Tag, tag) {
			g.revisions[i].ServeHTTP(w, r)
			return
		}
	}
	http.Error(w, "no revision has the tag "+tag, http.StatusNotFound)
}

// drawn returns the place of a target, each as likely as its percent.
func (g *gateway) drawn() int {
	n := g.draw(100)
	for i, t := range g.split {
		if n -= t.Percent; n < 0 {
			return i
		}
	}
	panic("the percents do not add up to 100") // ParseSplit has checked
}
