package rehearsal

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
)

// request is what one client sends.
type request struct {
	method, path, host, body string
	header                   map[string]string
}

func (r request) to(handler http.Handler) *httptest.ResponseRecorder {
	req := httptest.NewRequest(r.method, "/", strings.NewReader(r.body))
	req.URL.Path = r.path
	req.Host = r.host
	for name, value := range r.header {
		req.Header.Set(name, value)
	}
	w := httptest.NewRecorder()
	handler.ServeHTTP(w, req)
	return w
}

// put changes the split, and returns the status and the answer's text.
func put(handler http.Handler, split string) (int, string) {
	w := request{method: "PUT", path: "/rehearsal", host: "localhost:8080", body: split}.to(handler)
	return w.Code, w.Body.String()
}

func TestSplitIsTold(t *testing.T) {
	handler := rehearse(t, "v1=50,v2=50,v3=0", func(int) int { return 0 })
	for _, host := range []string{"localhost:8080", "v3.localhost:8080", "nowhere.localhost", "example.com"} {
		for _, method := range []string{"GET", "HEAD"} {
			w := request{method: method, path: "/rehearsal", host: host}.to(handler)
			if w.Code != 200 || w.Body.String() != "v1=50,v2=50,v3=0\n" || w.Header().Get("Content-Type") != "text/plain; charset=utf-8" {
				t.Errorf("%s %s: %d %q %v", method, host, w.Code, w.Body, w.Header())
			}
			for name, want := range map[string]string{"X-Revision": "", "X-Rehearsal": "", "Vary": "Accept", "X-Content-Type-Options": "nosniff"} {
				if got := w.Header().Get(name); got != want {
					t.Errorf("%s %s: %s: %q, want %q", method, host, name, got, want)
				}
			}
		}
	}

	w := request{method: "GET", path: "/rehearsal", header: map[string]string{"Accept": "application/json"}}.to(handler)
	const want = `{"split":"v1=50,v2=50,v3=0","latest":"v3","service":"stock-service-example","files":[` +
		`{"file":"revision-v1.yaml","split":"v1=100","latest":"v1","does":"v1 has all the traffic"},` +
		`{"file":"revision-v2.yaml","split":"v1=50,v2=50","latest":"v2","does":"v2 gets half at once"},` +
		`{"file":"revision-v3.yaml","split":"v1=50,v2=50,v3=0","latest":"v3","does":"v3 has its own address, but no traffic"},` +
		`{"file":"revision-v3-2.yaml","split":"v1=40,v2=30,v3=30","latest":"v3","does":"v1 40%, v2 30%, v3 30%"}]}` + "\n"
	if w.Code != 200 || w.Body.String() != want || w.Header().Get("Content-Type") != "application/json" {
		t.Errorf("%d %v %s", w.Code, w.Header(), w.Body)
	}
}

// TestArticle applies the four files in their order, rolls back and edits the
// percents. As on a cluster, a file makes its template's revision the latest.
func TestArticle(t *testing.T) {
	drawn := 0
	handler := rehearse(t, "v1=100", func(int) int { return drawn })
	for _, step := range []struct {
		put, split, latest string
		drawn              map[int]string // the revision that each number draws
		hosts              map[string]int // the status at each
	}{
		{"revision-v1.yaml", "v1=100", "v1", map[int]string{0: "v1", 99: "v1"}, map[string]int{"v1": 200, "v2": 404}},
		{"revision-v2.yaml", "v1=50,v2=50", "v2", map[int]string{49: "v1", 50: "v2"}, map[string]int{"v2": 200, "v3": 404}},
		{"revision-v3.yaml", "v1=50,v2=50,v3=0", "v3", map[int]string{49: "v1", 50: "v2", 99: "v2"}, map[string]int{"v3": 200}},
		{"revision-v3-2.yaml\n", "v1=40,v2=30,v3=30", "v3", map[int]string{39: "v1", 40: "v2", 70: "v3"}, map[string]int{"v3": 200}},
		// a revision that is left out is kept
		{"revision-v2.yaml", "v1=50,v2=50", "v2", map[int]string{49: "v1", 50: "v2"}, map[string]int{"v3": 200}},
		{"revision-v1.yaml", "v1=100", "v1", map[int]string{0: "v1", 99: "v1"}, map[string]int{"v2": 200, "v3": 200, "v4": 404}},
		{"revision-v3.yaml", "v1=50,v2=50,v3=0", "v3", nil, nil},
		// an edit of the percents leaves the latest alone, unless it makes one
		{"v1=50,v2=50\n", "v1=50,v2=50", "v3", nil, nil},
		{"v2=100", "v2=100", "v3", map[int]string{0: "v2", 99: "v2"}, map[string]int{"v1": 200}},
		{"v2=95,v4=5", "v2=95,v4=5", "v4", map[int]string{94: "v2", 95: "v4"}, map[string]int{"v4": 200}},
		{"revision-v3.yaml", "v1=50,v2=50,v3=0", "v3", nil, map[string]int{"v4": 200}},
	} {
		if status, text := put(handler, step.put); status != 200 || text != step.split+"\n" {
			t.Errorf("PUT %s: %d %q", step.put, status, text)
		}
		for n, tag := range step.drawn {
			drawn = n
			w := get(handler, "localhost", "/")
			if h := w.Header(); h.Get("X-Revision") != RevisionName(tag) || h.Get("X-Rehearsal") != step.split || h.Get("X-Rehearsal-Latest") != step.latest {
				t.Errorf("after %s: %d drew %v", step.put, n, h)
			}
		}
		for tag, status := range step.hosts {
			if w := get(handler, tag+".localhost", "/"); w.Code != status {
				t.Errorf("after %s: %d at %s.localhost", step.put, w.Code, tag)
			}
		}
		if got := get(handler, "latest.localhost", "/").Header().Get("X-Revision"); got != RevisionName(step.latest) {
			t.Errorf("after %s: %s at latest.localhost", step.put, got)
		}
	}
}

func TestRevisionIsMadeOnce(t *testing.T) {
	made := map[string]int{}
	split, _ := ParseSplit("v1=100")
	handler := New(split, func(tag string) http.Handler {
		made[tag]++
		return http.NotFoundHandler()
	}, rand.IntN)
	for _, split := range []string{"v2=100", "v1=50,v2=50", "v3=100", "v2=100", "v1=100"} {
		if status, text := put(handler, split); status != 200 {
			t.Errorf("%s: %d %s", split, status, text)
		}
	}
	if want := map[string]int{"v1": 1, "v2": 1, "v3": 1}; !reflect.DeepEqual(made, want) {
		t.Errorf("made %v, want %v", made, want)
	}
}

// broken is a body that ends before its time.
type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

func TestBadChangeChangesNothing(t *testing.T) {
	handler := rehearse(t, revisions("v", 99), rand.IntN)
	before := revisions("v", 99) + "\n"
	neither := func(quoted string) string {
		return quoted + " is neither percents, such as v1=50,v2=50, nor the name of a file, such as revision-v2.yaml"
	}
	for change, want := range map[string]string{
		"":                                     neither(`""`),
		"v1":                                   neither(`"v1"`),
		"revision-v4.yaml":                     neither(`"revision-v4.yaml"`),
		"./revision-v2.yaml":                   neither(`"./revision-v2.yaml"`),
		"Revision-v2.yaml":                     neither(`"Revision-v2.yaml"`),
		strings.Repeat("a: b\n", 99):           neither(`"` + strings.Repeat(`a: b\n`, 12) + `"`), // a file's text
		"v1=50,v2=60":                          "the percents add up to 110, not to 100",
		"SPLIT=v1=100":                         `"SPLIT=v1=100" has more than one name=percent: separate them by commas`,
		"w1=50,w2=50":                          "a rehearsal keeps at most 100 revisions",
		strings.Repeat(" ", 16<<10) + "v1=100": "the change did not arrive whole: http: request body too large",
	} {
		if status, text := put(handler, change); status != 400 || text != want+"\n" {
			t.Errorf("%.40q: %d %q, want 400 %q", change, status, text, want)
		}
		if got := get(handler, "localhost", "/rehearsal").Body.String(); got != before {
			t.Errorf("%.40q changed the split: %s", change, got)
		}
	}
	w := httptest.NewRecorder()
	handler.ServeHTTP(w, httptest.NewRequest("PUT", "/rehearsal", broken{}))
	if got := w.Body.String(); w.Code != 400 || got != "the change did not arrive whole: unexpected EOF\n" {
		t.Errorf("a broken body: %d %q", w.Code, got)
	}
	// what was refused has made no revision
	if status, text := put(handler, "w1=100"); status != 200 {
		t.Errorf("the hundredth revision: %d %q", status, text)
	}
}

func TestChangeFromAnotherSiteIsRefused(t *testing.T) {
	handler := rehearse(t, "v1=100", rand.IntN)
	for _, test := range []struct {
		header map[string]string
		status int
	}{
		{nil, 200}, // curl
		{map[string]string{"Sec-Fetch-Site": "same-origin"}, 200},
		{map[string]string{"Origin": "http://localhost:8080"}, 200},
		{map[string]string{"Sec-Fetch-Site": "cross-site"}, 403},
		{map[string]string{"Sec-Fetch-Site": "same-site"}, 403}, // another tag's host
		{map[string]string{"Origin": "http://example.com"}, 403},
		{map[string]string{"Origin": "null"}, 403},
	} {
		put(handler, "v1=100")
		w := request{method: "PUT", path: "/rehearsal", host: "localhost:8080", body: "v2=100", header: test.header}.to(handler)
		if w.Code != test.status {
			t.Errorf("%v: %d %s, want %d", test.header, w.Code, w.Body, test.status)
		}
		want := map[int]string{200: "v2=100\n", 403: "v1=100\n"}[test.status]
		if got := get(handler, "localhost", "/rehearsal").Body.String(); got != want {
			t.Errorf("%v: the split is %q, want %q", test.header, got, want)
		}
	}
}

func TestOtherMethodsAreNotAllowed(t *testing.T) {
	handler := rehearse(t, "v1=100", rand.IntN)
	for _, method := range []string{"POST", "DELETE", "PATCH", "OPTIONS"} {
		w := request{method: method, path: "/rehearsal", body: "v2=100"}.to(handler)
		if w.Code != 405 || w.Header().Get("Allow") != "GET, HEAD, PUT" || w.Body.String() != "method "+method+" not allowed, require GET, HEAD or PUT\n" {
			t.Errorf("%s: %d %v %s", method, w.Code, w.Header(), w.Body)
		}
	}
}

// TestChangeUnderLoad changes the split while clients ask: each request has an
// answer, and those sent after a change are answered by its revision.
func TestChangeUnderLoad(t *testing.T) {
	server := httptest.NewServer(rehearse(t, "v0=100", rand.IntN))
	defer server.Close()
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 16}}
	defer client.CloseIdleConnections()
	send := func(method, path, body string) (*http.Response, error) {
		req, err := http.NewRequest(method, server.URL+path, strings.NewReader(body))
		if err != nil {
			return nil, err
		}
		resp, err := client.Do(req)
		if err != nil {
			return nil, err
		}
		defer resp.Body.Close()
		if _, err = io.Copy(io.Discard, resp.Body); err == nil && resp.StatusCode != 200 {
			err = fmt.Errorf("%s %s: status %d", method, path, resp.StatusCode)
		}
		return resp, err
	}

	ended := make(chan struct{})
	var clients sync.WaitGroup
	for range 4 {
		clients.Go(func() {
			for {
				select {
				case <-ended:
					return
				default:
				}
				resp, err := send("GET", "/stock/AAPL", "")
				if err != nil {
					t.Error(err)
					return
				}
				// drawn by the one split, and not by parts of two
				if want := "stock-service-example-" + strings.TrimSuffix(resp.Header.Get("X-Rehearsal"), "=100"); resp.Header.Get("X-Revision") != want {
					t.Errorf("%s answered, drawn by %s", resp.Header.Get("X-Revision"), resp.Header.Get("X-Rehearsal"))
				}
			}
		})
	}
	for i := range 200 {
		tag := fmt.Sprintf("v%d", i%50)
		if _, err := send("PUT", "/rehearsal", tag+"=100"); err != nil {
			t.Fatal(err)
		}
		resp, err := send("GET", "/stock/AAPL", "")
		if err != nil {
			t.Fatal(err)
		}
		if got := resp.Header.Get("X-Revision"); got != RevisionName(tag) {
			t.Errorf("%s answered after %s had got all the traffic", got, tag)
		}
	}
	close(ended)
	clients.Wait()
}

// TestFilesAreTheYAMLs reads the traffic that each file applies.
func TestFilesAreTheYAMLs(t *testing.T) {
	var told []string
	for _, file := range files {
		told = append(told, file.Name)
		text, err := os.ReadFile(filepath.Join("../..", file.Name))
		if err != nil {
			t.Fatal(err)
		}
		if got, latest := trafficOf(string(text)); got != file.Split || latest != file.Latest {
			t.Errorf("%s applies %s with %s as the latest, and not %s with %s", file.Name, got, latest, file.Split, file.Latest)
		}
		if split, err := ParseSplit(file.Split); err != nil || split.String() != file.Split || file.Does == "" {
			t.Errorf("%+v: %v", file, err)
		}
	}
	there, err := filepath.Glob("../../revision-*.yaml")
	for i := range there {
		there[i] = filepath.Base(there[i])
	}
	slices.Sort(told)
	if err != nil || !slices.Equal(there, told) {
		t.Errorf("there are %q, and %q are told of", there, told)
	}
}

var (
	templateName = regexp.MustCompile(`(?m)^  template:\n    metadata:\n      name: stock-service-example-(\S+)$`)
	target       = regexp.MustCompile(`(?m)^    - (?:revisionName: stock-service-example-(\S+)|latestRevision: (true))\n      percent: (\d+)$`)
)

// trafficOf writes a Service's traffic as a split. Its template's revision is
// the latest, and has all of it where there is no traffic block.
func trafficOf(yaml string) (traffic, latest string) {
	latest = templateName.FindStringSubmatch(yaml)[1]
	_, block, found := strings.Cut(yaml, "\n  traffic:\n")
	if !found {
		return latest + "=100", latest
	}
	var split []string
	named := map[string]bool{}
	for _, m := range target.FindAllStringSubmatch(block, -1) {
		tag := m[1]
		if m[2] == "true" {
			tag = latest
			if named[tag] && m[3] == "0" {
				continue // it has its share by its name
			}
		}
		named[tag] = true
		split = append(split, tag+"="+m[3])
	}
	if len(split) == 0 || strings.Count(block, "percent:") != len(target.FindAllString(block, -1)) {
		return "a block that this test cannot read", latest
	}
	return strings.Join(split, ","), latest
}
