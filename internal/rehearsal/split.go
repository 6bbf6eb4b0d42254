package rehearsal

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// maxRevisions bounds those that a rehearsal keeps.
const maxRevisions = 100

// Target is one revision's part of the traffic.
type Target struct {
	// Tag is the revision's RESOURCE, and the first label of its own host:
	// v3 of v3.localhost.
	Tag string
	// Percent of the requests, 0 to 100.
	Percent int
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
	// compiled here and not in a package variable, since no pod needs it to start
	label := regexp.MustCompile(`^[a-z]([-a-z0-9]{0,61}[a-z0-9])?$`)
	var split Split
	named, sum := map[string]bool{}, 0
	for part := range strings.SplitSeq(s, ",") {
		part = strings.TrimSpace(part)
		tag, text, found := strings.Cut(part, "=")
		percent, err := strconv.ParseUint(text, 10, 32)
		switch {
		case !found:
			return nil, fmt.Errorf("%q is not name=percent", part)
		case strings.Contains(text, "="):
			return nil, fmt.Errorf("%q has more than one name=percent: separate them by commas", part)
		case !label.MatchString(tag):
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
