package rehearsal

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/knative-sample/rest-api-go/internal/quote"
	"github.com/knative-sample/rest-api-go/internal/stock"
)

// rehearse is the service's rehearsal of split.
func rehearse(t *testing.T, split string, draw func(int) int) http.Handler {
	t.Helper()
	targets, err := ParseSplit(split)
	if err != nil {
		t.Fatal(err)
	}
	return New(targets, func(tag string) http.Handler {
		return stock.New(stock.Revision{Resource: tag, Name: RevisionName(tag)}, quote.Sample{})
	}, draw)
}

func send(handler http.Handler, method, host, path, body, header, value string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	r.Host = host
	r.Header.Set(header, value)
	w := httptest.NewRecorder()
	handler.ServeHTTP(w, r)
	return w
}

func get(handler http.Handler, host, path string) *httptest.ResponseRecorder {
	return send(handler, "GET", host, path, "", "User-Agent", "curl")
}

func put(handler http.Handler, split string) *httptest.ResponseRecorder {
	return send(handler, "PUT", "localhost:8080", "/rehearsal", split, "User-Agent", "curl")
}

// Of a hundred numbers that may be drawn, each target has as many as its percent.
func TestDrawIsExact(t *testing.T) {
	split, _ := ParseSplit("v1=0,v2=40,v3=59,v4=1")
	count := map[string]int{}
	for number := range 100 {
		count[split.drawn(func(n int) int { return number * 100 / n })]++
	}
	if want := map[string]int{"v2": 40, "v3": 59, "v4": 1}; !reflect.DeepEqual(count, want) {
		t.Errorf("%s: %v", split, count)
	}
}

func TestHosts(t *testing.T) {
	handler := rehearse(t, "v1=50,v2=50,v3=0", func(int) int { return 0 })
	const price = " price for ticker AAPL is 201.36\n"
	for host, want := range map[string]string{
		"v2.localhost:8080": "v2" + price,
		"V3.LOCALHOST":      "v3" + price, // It has no traffic, but is there.
		"LATEST.localhost":  "v3" + price,
		"localhost:8080":    "v1" + price, // from here drawn by the number 0
		"v2.example.com":    "v1" + price,
		"v2localhost:8080":  "v1" + price,
		"v4.localhost:8080": "no revision has the tag v4\n",
	} {
		w := get(handler, host, "/stock/AAPL")
		if w.Body.String() != want || (w.Code == 404) != (w.Header().Get("X-Revision") == "") {
			t.Errorf("%s: %d %q, want %q", host, w.Code, w.Body, want)
		}
		if drawn := w.Header().Get("X-Rehearsal") != ""; drawn != (want == "v1"+price) {
			t.Errorf("%s: drawn: %v", host, drawn)
		}
	}
}

func TestSplitIsTold(t *testing.T) {
	handler := rehearse(t, "v1=50,v2=50,v3=0", func(int) int { return 0 })
	const asJSON = `{"files":[{"file":"revision-v1.yaml","split":"v1=100","latest":"v1","does":"v1 has all the traffic"},`
	const last = `],"latest":"v3","service":"stock-service-example","split":"v1=50,v2=50,v3=0"}` + "\n"
	for _, test := range []struct{ host, accept, contentType, begins, ends string }{
		{"v3.localhost:8080", "text/html", "text/plain; charset=utf-8", "v1=50", ",v2=50,v3=0\n"},
		{"nowhere.localhost", "application/json", "application/json", asJSON, last},
	} {
		w := send(handler, "GET", test.host, "/rehearsal", "", "Accept", test.accept)
		want := http.Header{"Content-Type": {test.contentType}, "Vary": {"Accept"}, "X-Content-Type-Options": {"nosniff"}}
		text := w.Body.String()
		if w.Code != 200 || !reflect.DeepEqual(w.Header(), want) || !strings.HasPrefix(text, test.begins) || !strings.HasSuffix(text, test.ends) {
			t.Errorf("%v: %d %v %s", test, w.Code, w.Header(), text)
		}
	}
}

// TestArticle applies the four files in their order, rolls back and edits the
// percents. As on a cluster, a file makes its template's revision the latest.
func TestArticle(t *testing.T) {
	handler := rehearse(t, "v1=100", rand.IntN)
	for _, step := range []struct {
		put, split, latest string
		statuses           string // at the tags v1, v2, v3 and v4
	}{
		{"revision-v1.yaml", "v1=100", "v1", "200 404 404 404"},
		{"revision-v2.yaml", "v1=50,v2=50", "v2", "200 200 404 404"},
		{"revision-v3.yaml", "v1=50,v2=50,v3=0", "v3", "200 200 200 404"},
		{"revision-v3-2.yaml\n", "v1=40,v2=30,v3=30", "v3", "200 200 200 404"},
		// a revision that is left out is kept, and its tag is not
		{"revision-v2.yaml", "v1=50,v2=50", "v2", "200 200 404 404"},
		// an edit of the percents leaves the latest alone, unless it makes one
		{"v1=100\n", "v1=100", "v2", "200 404 404 404"},
		{"v2=95,v4=5", "v2=95,v4=5", "v4", "404 200 404 200"},
	} {
		if w := put(handler, step.put); w.Code != 200 || w.Body.String() != step.split+"\n" {
			t.Errorf("PUT %s: %d %q", step.put, w.Code, w.Body)
		}
		if h := get(handler, "localhost", "/").Header(); h.Get("X-Rehearsal") != step.split || h.Get("X-Rehearsal-Latest") != step.latest {
			t.Errorf("after %s: %v", step.put, h)
		}
		if got := get(handler, "latest.localhost", "/").Header().Get("X-Revision"); got != RevisionName(step.latest) {
			t.Errorf("after %s: %s at latest.localhost", step.put, got)
		}
		statuses := make([]string, 4)
		for i := range statuses {
			statuses[i] = fmt.Sprint(get(handler, fmt.Sprintf("v%d.localhost", i+1), "/").Code)
		}
		if got := strings.Join(statuses, " "); got != step.statuses {
			t.Errorf("after %s: %s at the tags, want %s", step.put, got, step.statuses)
		}
	}
}

func TestChange(t *testing.T) {
	before := percents("v", 99)
	const neither = " is neither percents, such as v1=50,v2=50, nor the name of a file, such as revision-v2.yaml"
	for _, test := range []struct {
		method, change, header, value string
		status                        int
		says                          string
	}{
		{"PUT", percents("v", 100), "User-Agent", "curl", 200, "v0=100,"}, // the hundredth revision
		{"PUT", "v1=100", "Origin", "http://localhost:8080", 200, "v1=100"},
		{"PUT", "v1=100", "Sec-Fetch-Site", "same-site", 403, "cross-origin request detected"}, // another tag's host
		{"POST", "v1=100", "User-Agent", "curl", 405, "Method Not Allowed"},
		{"PUT", strings.Repeat("a: b\n", 99), "User-Agent", "curl", 400, `"` + strings.Repeat(`a: b\n`, 12) + `"` + neither}, // a file's text
		{"PUT", "v1=50,v2=60", "User-Agent", "curl", 400, "the percents add up to 110, not to 100"},
		{"PUT", "w1=50,w2=50", "User-Agent", "curl", 400, "a rehearsal keeps at most 100 revisions"},
		{"PUT", strings.Repeat(" ", 16<<10) + "v1=100", "User-Agent", "curl", 400, "http: request body too large"},
	} {
		handler := rehearse(t, before, rand.IntN)
		w := send(handler, test.method, "localhost:8080", "/rehearsal", test.change, test.header, test.value)
		if w.Code != test.status || !strings.HasPrefix(w.Body.String(), test.says) || (w.Code == 405) != (w.Header().Get("Allow") == "GET, HEAD, PUT") {
			t.Errorf("%s %.40q with %s: %d %s, want %d %s", test.method, test.change, test.value, w.Code, w.Body, test.status, test.says)
		}
		if split := get(handler, "localhost", "/rehearsal").Body.String(); (split == before+"\n") != (test.status != 200) {
			t.Errorf("%s %.40q with %s: the split is %s", test.method, test.change, test.value, split)
		}
	}
}

// Four clients change the split at once, to the same new revisions, and ask
// meanwhile: each revision is made once, and each request is drawn by one split.
func TestManyChangeAtOnce(t *testing.T) {
	var made atomic.Int32
	split, _ := ParseSplit("v0=100")
	handler := New(split, func(tag string) http.Handler {
		made.Add(1)
		time.Sleep(time.Millisecond) // The others come to the same point.
		return stock.New(stock.Revision{Name: RevisionName(tag)}, quote.Sample{})
	}, rand.IntN)
	var clients sync.WaitGroup
	for range 4 {
		clients.Go(func() {
			for i := range 50 {
				put(handler, fmt.Sprintf("v%d=100", i))
				h := get(handler, "localhost", "/").Header()
				if want := RevisionName(strings.TrimSuffix(h.Get("X-Rehearsal"), "=100")); h.Get("X-Revision") != want {
					t.Errorf("%s answered, drawn by %s", h.Get("X-Revision"), h.Get("X-Rehearsal"))
				}
			}
		})
	}
	clients.Wait()
	if n := made.Load(); n != 50 {
		t.Errorf("50 revisions were made %d times", n)
	}
}

var (
	template = regexp.MustCompile(`(?m)^  template:\n    metadata:\n      name: stock-service-example-(\S+)$`)
	target   = regexp.MustCompile(`(?m)^    - (?:revisionName: stock-service-example-(\S+)|latestRevision: true)\n      percent: (\d+)$`)
)

// Files are the YAMLs, and each has the traffic that its YAML applies. There the
// template's revision is the latest, which at 0% is only told if it is not named.
func TestFilesAreTheYAMLs(t *testing.T) {
	told, applied := map[string]string{}, map[string]string{}
	for _, file := range Files {
		told["../../"+file.Name] = file.Split + " with the latest " + file.Latest
	}
	names, _ := filepath.Glob("../../revision-*.yaml")
	for _, name := range names {
		yaml, _ := os.ReadFile(name)
		latest := template.FindStringSubmatch(string(yaml))[1]
		targets := target.FindAllStringSubmatch(string(yaml), -1)
		if len(targets) != strings.Count(string(yaml), "percent:") {
			t.Errorf("%s has a target of another form", name)
		}
		var split Split
		for _, m := range targets {
			tag := cmp.Or(m[1], latest)
			if named := func(t Target) bool { return t.Tag == tag }; m[2] != "0" || !slices.ContainsFunc(split, named) {
				percent, _ := strconv.Atoi(m[2])
				split = append(split, Target{tag, percent})
			}
		}
		applied[name] = split.String() + " with the latest " + latest
	}
	if !reflect.DeepEqual(told, applied) {
		t.Errorf("Files tell %v, and the YAMLs apply %v", told, applied)
	}
}

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
