// Package rehearsal splits traffic between revisions in one process, as
// Knative's gateway does between pods, for a look at the split without a
// cluster.
package rehearsal

import (
	"cmp"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
)

// latestTag is at the latest revision, as in the article's files.
const latestTag = "latest"

const service = "stock-service-example" // as the files name it

// RevisionName is the name that the tag's revision has on the cluster.
func RevisionName(tag string) string { return service + "-" + tag }

type gateway struct {
	revision func(tag string) http.Handler
	draw     func(n int) int
	api      http.Handler

	changing sync.Mutex
	traffic  atomic.Pointer[traffic]
}

// traffic is an immutable snapshot: a new split makes another.
type traffic struct {
	split     Split
	latest    string                  // the tag of the latest revision
	revisions map[string]http.Handler // by their tags; those that the split leaves out are kept
}

// New returns a handler that passes a request for the host TAG.localhost to
// that tag's revision while the split lists it, and any other to one drawn by
// percent. At /rehearsal it tells the split and changes it. revision makes a
// tag's revision, once. draw returns a random number in [0, n), as rand.IntN
// does; many goroutines call it.
func New(split Split, revision func(tag string) http.Handler, draw func(n int) int) http.Handler {
	g := &gateway{revision: revision, draw: draw}
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+path, g.tell)
	mux.HandleFunc("PUT "+path, g.put)
	g.api = new(http.CrossOriginProtection).Handler(mux)
	g.traffic.Store(&traffic{revisions: map[string]http.Handler{}})
	g.change(split, "") // This has no error, since ParseSplit has checked.
	return g
}

// change puts split in the place of the one before. The latest revision is then
// latest or, where that is empty, one that the split has made or that of before.
func (g *gateway) change(split Split, latest string) error {
	g.changing.Lock()
	defer g.changing.Unlock()
	now := g.traffic.Load()
	next := &traffic{split: split, revisions: maps.Clone(now.revisions), latest: now.latest}
	for _, target := range split {
		if next.revisions[target.Tag] == nil {
			next.revisions[target.Tag] = g.revision(target.Tag)
			next.latest = target.Tag
		}
	}
	if len(next.revisions) > maxRevisions {
		return errTooMany
	}
	next.latest = cmp.Or(latest, next.latest)
	g.traffic.Store(next)
	return nil
}

func (g *gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == path {
		g.api.ServeHTTP(w, r)
		return
	}
	host, _, _ := strings.Cut(r.Host, ":")
	now := g.traffic.Load()
	tag, tagged := strings.CutSuffix(strings.ToLower(host), ".localhost")
	if !tagged {
		w.Header().Set("X-Rehearsal", now.split.String())
		w.Header().Set("X-Rehearsal-Latest", now.latest)
		now.revisions[now.split.drawn(g.draw)].ServeHTTP(w, r)
		return
	}
	listed := func(target Target) bool { return target.Tag == tag }
	if tag == latestTag {
		tag = now.latest
	} else if !slices.ContainsFunc(now.split, listed) {
		http.Error(w, "no revision has the tag "+tag, http.StatusNotFound)
		return
	}
	now.revisions[tag].ServeHTTP(w, r)
}

// maxRevisions bounds those that a rehearsal keeps.
const maxRevisions = 100

// Target is one revision's part of the traffic.
type Target struct {
	Tag     string // the revision's RESOURCE, and the first label of its own host: v3 of v3.localhost
	Percent int    // of the requests, 0 to 100
}

// Split is the whole traffic. Its percents add up to 100, and its tags differ.
type Split []Target

func (s Split) String() string {
	var parts []string
	for _, t := range s {
		parts = append(parts, fmt.Sprintf("%s=%d", t.Tag, t.Percent))
	}
	return strings.Join(parts, ",")
}

// ParseSplit reads a split such as v1=40,v2=30,v3=30. Its tags are DNS labels
// (RFC 1035), as Knative's are.
func ParseSplit(s string) (Split, error) {
	const letters = "abcdefghijklmnopqrstuvwxyz"
	var split Split
	named, sum := map[string]bool{}, 0
	for part := range strings.SplitSeq(s, ",") {
		part = strings.TrimSpace(part)
		tag, text, found := strings.Cut(part, "=")
		percent, err := strconv.ParseUint(text, 10, 32)
		isLabel := strings.IndexAny(tag, letters) == 0 && strings.Trim(tag, letters+"0123456789-") == "" &&
			!strings.HasSuffix(tag, "-") && len(tag) <= 63
		switch {
		case !found:
			return nil, fmt.Errorf("%q is not name=percent", part)
		case strings.Contains(text, "="):
			return nil, fmt.Errorf("%q has more than one name=percent: separate them by commas", part)
		case !isLabel:
			return nil, fmt.Errorf("the name %q is not a DNS label: at most 63 lower-case letters, "+
				"digits and -, the first a letter, the last no -", tag)
		case tag == latestTag:
			return nil, fmt.Errorf("the name %q is the tag of the latest revision", tag)
		case named[tag]:
			return nil, fmt.Errorf("%q is named twice", tag)
		case err != nil, percent > 100:
			return nil, fmt.Errorf("%q is not a whole percent from 0 to 100", part)
		}
		named[tag] = true
		sum += int(percent)
		split = append(split, Target{tag, int(percent)})
	}
	if len(split) > maxRevisions {
		return nil, errTooMany
	}
	if sum != 100 {
		return nil, fmt.Errorf("the percents add up to %d, not to 100", sum)
	}
	return split, nil
}

var errTooMany = fmt.Errorf("a rehearsal keeps at most %d revisions", maxRevisions)

// drawn returns a target's tag, each as likely as its percent.
func (s Split) drawn(draw func(n int) int) string {
	n := draw(100)
	for _, t := range s {
		if n -= t.Percent; n < 0 {
			return t.Tag
		}
	}
	panic("the percents do not add up to 100") // ParseSplit has checked that they do.
}
