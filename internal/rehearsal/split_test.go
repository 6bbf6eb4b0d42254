package rehearsal

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

func TestParseSplit(t *testing.T) {
	for _, test := range []struct {
		split string
		want  Split
	}{
		{" v1=50, v2=50,v3=0\n", Split{{"v1", 50}, {"v2", 50}, {"v3", 0}}},
		{"a=40,b-1=30,latest-2=30", Split{{"a", 40}, {"b-1", 30}, {"latest-2", 30}}},
		{strings.Repeat("a", 63) + "=100", Split{{strings.Repeat("a", 63), 100}}},
	} {
		got, err := ParseSplit(test.split)
		if err != nil || !slices.Equal(got, test.want) {
			t.Errorf("%q: %v, %v, want %v", test.split, got, err, test.want)
		}
		if again, err := ParseSplit(got.String()); err != nil || !slices.Equal(again, got) {
			t.Errorf("%q: %s is read as %v, %v", test.split, got, again, err)
		}
	}
}

func TestBadSplits(t *testing.T) {
	want := map[string]string{
		"v1=100,":          `"" is not name=percent`,
		"v1=50 v2=50":      `"v1=50 v2=50" has more than one name=percent: separate them by commas`,
		"v1=50,v1=50":      `"v1" is named twice`,
		"v1=33.4,v2=66.6":  `"v1=33.4" is not a whole percent from 0 to 100`,
		"v1=-1,v2=101":     `"v1=-1" is not a whole percent from 0 to 100`,
		"v1=101":           `"v1=101" is not a whole percent from 0 to 100`,
		"v1=40,v2=59":      "the percents add up to 99, not to 100",
		"latest=100":       `the name "latest" is the tag of the latest revision`,
		percents("v", 101): "a rehearsal keeps at most 100 revisions",
	}
	for _, tag := range []string{"", "a/b", "a\nb", "v1.1", "日本", "ſ", "v_1", "1v", "-v", "v-", "V1", "a b", strings.Repeat("a", 64)} {
		want["s=50,"+tag+"=50"] = fmt.Sprintf("the name %q is not a DNS label: at most 63 lower-case letters, digits and -, the first a letter, the last no -", tag)
	}
	for split, want := range want {
		if got, err := ParseSplit(split); err == nil || err.Error() != want {
			t.Errorf("%q: %v, %v, want %s", split, got, err, want)
		}
	}
}

// percents is a split of so many revisions, all but the first at 0%.
func percents(prefix string, count int) string {
	split := prefix + "0=100"
	for i := 1; i < count; i++ {
		split += fmt.Sprintf(",%s%d=0", prefix, i)
	}
	return split
}
