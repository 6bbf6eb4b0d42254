package rehearsal

import (
	"math"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

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

func get(handler http.Handler, host, path string) *httptest.ResponseRecorder {
	req := httptest.NewRequest("GET", path, nil)
	req.Host = host
	w := httptest.NewRecorder()
	handler.ServeHTTP(w, req)
	return w
}

func TestDrawIsExact(t *testing.T) {
	for split, want := range map[string]map[string]int{
		"v1=100":            {"v1": 100},
		"v1=40,v2=30,v3=30": {"v1": 40, "v2": 30, "v3": 30},
		"v1=50,v2=50,v3=0":  {"v1": 50, "v2": 50},
		"v1=0,v2=1,v3=99":   {"v2": 1, "v3": 99},
	} {
		drawn := 0
		handler := rehearse(t, split, func(n int) int {
			if n != 100 {
				t.Fatalf("%s: drew of %d", split, n)
			}
			return drawn
		})
		count := map[string]int{}
		for drawn = range 100 {
			count[strings.TrimPrefix(get(handler, "localhost:8080", "/").Header().Get("X-Revision"), "stock-service-example-")]++
		}
		for _, tag := range []string{"v1", "v2", "v3"} {
			if count[tag] != want[tag] {
				t.Errorf("%s: %v", split, count)
			}
		}
	}
}

func TestDrawIsByChance(t *testing.T) {
	const requests = 20_000
	random := rand.New(rand.NewPCG(1, 2))
	handler := rehearse(t, "v1=40,v2=30,v3=30,v4=0", random.IntN)
	count, pairs := map[string]int{}, map[string]int{}
	var last string
	for range requests {
		revision := get(handler, "localhost:8080", "/").Header().Get("X-Revision")
		count[revision]++
		pairs[last+" "+revision]++
		last = revision
	}

	share := map[string]float64{"stock-service-example-v1": .4, "stock-service-example-v2": .3, "stock-service-example-v3": .3}
	check := func(name string, count int, p float64) {
		if math.Abs(float64(count)-requests*p) > 4*math.Sqrt(requests*p*(1-p)) {
			t.Errorf("%s: %d of %d, want %v", name, count, requests, p)
		}
	}
	if len(count) != len(share) {
		t.Error(count)
	}
	for a, p := range share {
		check(a, count[a], p)
		for b, q := range share { // no turns: a draw knows nothing of the last
			check(a+" "+b, pairs[a+" "+b], p*q)
		}
	}
}

func TestRevisionAnswersWhole(t *testing.T) {
	for drawn, tag := range map[int]string{0: "v1", 39: "v1", 40: "v2", 69: "v2", 70: "v3", 99: "v3"} {
		handler := rehearse(t, "v1=40,v2=30,v3=30", func(int) int { return drawn })
		for path, want := range map[string]string{
			"/":                     "Welcome to the " + tag + " app! \n",
			"/" + tag:               tag + " ticker not found!, require /" + tag + "/{ticker}\n",
			"/" + tag + "/AAPL":     tag + " price for ticker AAPL is 201.36\n",
			"/" + tag + "/NOPE":     tag + " not found for ticker : NOPE \n",
			"/stock":                tag + " ticker not found!, require /stock/{ticker}\n",
			"/stock/AAPL":           tag + " price for ticker AAPL is 201.36\n",
			"/another-one's/ticker": tag + " no such path, require /, /" + tag + "/{ticker} or /stock/{ticker}\n",
		} {
			w := get(handler, "localhost:8080", path)
			if w.Body.String() != want || w.Header().Get("X-Revision") != "stock-service-example-"+tag {
				t.Errorf("%s: %q, X-Revision: %s, want %q", path, w.Body, w.Header().Get("X-Revision"), want)
			}
		}
	}
}

func TestHosts(t *testing.T) {
	handler := rehearse(t, "v1=50,v2=50,v3=0", func(int) int { return 0 })
	for host, want := range map[string]string{
		"v1.localhost:8080":     "v1",
		"v2.localhost:8080":     "v2",
		"v3.localhost:8080":     "v3", // without traffic, but there
		"v3.localhost":          "v3",
		"V3.LOCALHOST":          "v3",
		"latest.localhost:8080": "v3",
		"LATEST.localhost":      "v3",
		"":                      "drawn v1",
		"localhost":             "drawn v1",
		"localhost:8080":        "drawn v1",
		"127.0.0.1:8080":        "drawn v1",
		"[::1]:8080":            "drawn v1",
		"v2.example.com":        "drawn v1",
		"v2localhost:8080":      "drawn v1",
	} {
		w := get(handler, host, "/")
		rehearsed := ""
		if strings.HasPrefix(want, "drawn ") {
			want, rehearsed = strings.TrimPrefix(want, "drawn "), "v1=50,v2=50,v3=0"
		}
		if got := w.Header().Get("X-Rehearsal"); got != rehearsed {
			t.Errorf("%s: X-Rehearsal: %q, want %q", host, got, rehearsed)
		}
		if got := w.Header().Get("X-Rehearsal-Latest"); (got == "v3") != (rehearsed != "") {
			t.Errorf("%s: X-Rehearsal-Latest: %q", host, got)
		}
		if w.Code != 200 || w.Body.String() != "Welcome to the "+want+" app! \n" || w.Header().Get("X-Revision") != "stock-service-example-"+want {
			t.Errorf("%s: %d %q %v, want %s", host, w.Code, w.Body, w.Header(), want)
		}
	}

	for host, tag := range map[string]string{
		"v4.localhost:8080":     "v4",
		"latest.v1.localhost":   "latest.v1",
		"v1.1.localhost:8080":   "v1.1",
		".localhost":            "",
		"www.v1.localhost:8080": "www.v1",
	} {
		w := get(handler, host, "/")
		if _, ok := w.Header()["X-Revision"]; ok || w.Code != 404 || w.Body.String() != "no revision has the tag "+tag+"\n" {
			t.Errorf("%s: %d %q %v", host, w.Code, w.Body, w.Header())
		}
	}
}
