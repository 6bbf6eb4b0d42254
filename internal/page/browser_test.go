//go:build unix

package page

import (
	"flag"
	"fmt"
	"maps"
	"math"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

const split = "SPLIT=v1=40,v2=30,v3=30"

const capacity = 396 // dots, and the most answers that a share is of

// TestMain lets more tests wait at once than there are processors.
func TestMain(m *testing.M) {
	flag.Parse()
	flag.Set("test.parallel", "4")
	os.Exit(m.Run())
}

// TestBrowser looks at the page in Chromium, served by the program itself.
func TestBrowser(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a browser")
	}
	path := findChromium(t)
	program := filepath.Join(t.TempDir(), "rest-api-go")
	if out, err := exec.Command("go", "build", "-o", program, "github.com/knative-sample/rest-api-go").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	browser := startChromium(t, path)

	for _, c := range []struct {
		name           string
		networkMayFail bool // so the browser's log has it
		run            func(tab *tab, program string)
	}{
		{"shares", false, testShares},
		{"failures", true, testFailures},
		{"over time", false, testOverTime},
		{"hours", false, testHours},
		{"server gone", true, testServerGone},
		{"service gone", true, testServiceGone},
		{"no answer in time", true, testNoAnswerInTime},
		{"slow revision", false, testSlowRevision},
		{"controls", false, testControls},
		{"hidden tab", false, testHiddenTab},
		{"narrow", true, testNarrow},
		{"plain revision", false, testPlainRevision},
		{"preview", false, testPreview},
		{"change", false, testChange},
		{"change on a cluster", false, testChangeOnACluster},
		{"changes are marked", false, testChangesAreMarked},
		{"in sight", false, testInSight},
		{"many names", true, testManyNames},
		{"pods", false, testPods},
		{"colors", true, testColors},
		{"files in order", false, testFilesInOrder},
		{"percents", true, testPercents},
		{"rehearsal gone", true, testRehearsalGone},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			tab := openTab(t, browser)
			c.run(tab, program)
			for _, complaint := range tab.complaints(c.networkMayFail) {
				t.Error(complaint)
			}
		})
	}
	t.Run("complaints are heard", func(t *testing.T) {
		t.Parallel()
		testComplaints(openTab(t, browser), program)
	})
}

// openTab opens a tab that counts the page's requests, apart from those about
// the rehearsal, and reports violations of its policy twice: the browser's log
// has them too.
func openTab(t *testing.T, browser *chromium) *tab {
	t.Helper()
	tab := browser.open(t)
	tab.prepare(`
		addEventListener('securitypolicyviolation', e => console.error('violates', e.violatedDirective, e.blockedURI));
		var rehearsalShows = () => [...document.querySelectorAll('#rehearsal, #percents, #heads, #marks, .mark, [data-expected]')].some(element => element.checkVisibility());
		var total = () => Number(document.querySelector('#total').dataset.count);
		var asked = 0, asking = 0, askingMost = 0, elsewhere = 0;
		{
			const original = fetch;
			fetch = (...args) => {
				if (args[0] !== './') {
					elsewhere++;
					return original(...args);
				}
				asked++;
				askingMost = Math.max(askingMost, ++asking);
				return original(...args).finally(() => asking--);
			};
		}`)
	return tab
}

func testShares(tab *tab, program string) {
	tab.load(startServer(tab.T, program, split).url)
	tab.setRate(200)
	tab.until("total() >= 100")
	before := tab.elements()
	tab.until("total() >= 450")
	tab.pause()

	revisions := tab.revisions()
	want := map[string]float64{"stock-service-example-v1": .4, "stock-service-example-v2": .3, "stock-service-example-v3": .3}
	if got := slices.Sorted(maps.Keys(revisions)); !slices.Equal(got, slices.Sorted(maps.Keys(want))) {
		tab.Fatalf("revisions %q", got)
	}
	n := 0
	for _, r := range revisions {
		n += r.Count
	}
	for name, weight := range want {
		r := revisions[name]
		tab.plausible(name, r.Count, n, weight)
		share := float64(r.Latest) / capacity
		if want := fmt.Sprintf("%.1f%%", 100*share); r.Text != want || math.Abs(r.Share-share) > 1e-9 {
			tab.Errorf("%s: share %s and %v, want %s", name, r.Text, r.Share, want)
		}
		if want := fmt.Sprintf(`^in all %d requests · median [\d.]+ m?s · 99%% in [\d.]+ m?s$`, r.Count); !regexp.MustCompile(want).MatchString(r.Facts) {
			tab.Errorf("%s: %q, want %s", name, r.Facts, want)
		}
	}
	tab.until(`/^of the latest 396 answers since \d\d:\d\d:\d\d$/.test(latest.textContent)`)

	after := tab.elements()
	if before != after {
		tab.Errorf("%d elements beside the timeline's after 100 answers, %d after 450", before, after)
	}
	var drawn, ringed int
	tab.eval("document.querySelectorAll('#dots .dot').length", &drawn)
	tab.eval("document.querySelectorAll('#dots .newest').length", &ringed)
	if drawn != capacity || ringed != 1 {
		tab.Errorf("%d dots and %d rings, want %d and 1", drawn, ringed, capacity)
	}
	// the shares are the dots'
	var byTitle map[string]int
	tab.eval("Object.fromEntries([...Map.groupBy(document.querySelectorAll('#dots .dot'), dot => dot.title)].map(([name, dots]) => [name, dots.length]))", &byTitle)
	for name, r := range revisions {
		if r.Latest != byTitle[name] {
			tab.Errorf("%s has %d dots, and the latest are %d", name, byTitle[name], r.Latest)
		}
	}
	// the colors of all dots are those of their revisions
	var strange []string
	tab.eval(`[...document.querySelectorAll('#dots .dot')]
		.map(dot => [dot.title, dot.textContent, getComputedStyle(dot).backgroundColor].join())`, &strange)
	for _, look := range slices.Compact(slices.Sorted(slices.Values(strange))) {
		switch look {
		case "stock-service-example-v1,v1,rgb(0, 114, 178)":
		case "stock-service-example-v2,v2,rgb(230, 159, 0)":
		case "stock-service-example-v3,v3,rgb(0, 158, 115)":
		default:
			tab.Errorf("a dot is %s", look)
		}
	}
}

// testFailures has a bad v3: it alone is slow and fails, and its row says so,
// until its traffic is taken away.
func testFailures(tab *tab, program string) {
	const v3 = "stock-service-example-v3"
	s := startServer(tab.T, program, split, "ERROR_RATE=0.3", "LATENCY=20ms")
	tab.load(s.url)
	tab.setRate(100)
	tab.until("total() >= 300")
	tab.pause()

	failed := 0
	for _, n := range tab.failures() {
		failed += n
	}
	if kinds := tab.failures(); len(kinds) != 1 || kinds["500 "+v3] != failed {
		tab.Errorf("%d failed, by kind %v, want v3's alone", failed, kinds)
	}
	var marks int
	tab.eval(`[...document.querySelectorAll('#dots .failed')].filter(d =>
		d.title === '500 from stock-service-example-v3' && d.textContent === 'v3' &&
		getComputedStyle(d).backgroundColor === 'rgb(0, 158, 115)' && getComputedStyle(d).backgroundImage !== 'none').length`, &marks)
	if marks != failed { // fewer than 396 in all, so that all are there
		tab.Errorf("%d crossed dots that keep v3's label and color, for %d failures", marks, failed)
	}
	for name, r := range tab.revisions() {
		facts, alarm := fmt.Sprintf("in all %d requests · ", r.Count), ""
		if name == v3 {
			tab.plausible("v3's failures", r.Failed, r.Count, .3)
			facts = fmt.Sprintf("in all %d requests, %d failed · ", r.Count, r.Failed)
			alarm = fmt.Sprintf("%d of %d failed, %.1f%%. Roll back: press revision-v2.yaml.", r.Failed, r.Count, 100*float64(r.Failed)/float64(r.Count))
			var median float64
			if fmt.Sscanf(strings.TrimPrefix(r.Facts, facts), "median %f ms", &median); median < 20 {
				tab.Errorf("v3 waits 20 ms, and the page has %q", r.Facts)
			}
		}
		if !strings.HasPrefix(r.Facts, facts) || r.Alarm != alarm {
			tab.Errorf("%s: %q and %q, want %q and %q", name, r.Facts, r.Alarm, facts, alarm)
		}
	}

	tab.eval("pause.click()", nil)
	s.put(tab.T, "revision-v2.yaml")
	tab.until(fmt.Sprintf("%s.dataset.expected === '0' && %[1]s.dataset.share === '0' && ![...document.querySelectorAll('.alarm')].some(alarm => alarm.checkVisibility())", row("v3")))
}

func testControls(tab *tab, program string) {
	tab.load(startServer(tab.T, program, split).url)
	tab.tabTo("#rate")
	for range 5 {
		tab.press("ArrowRight")
	}
	tab.until("document.querySelector('label').textContent === '15 requests per second'")
	tab.setRate(50)

	tab.tabTo("#pause")
	tab.press("Enter")
	tab.until("pause.textContent === 'Resume'")
	var before, after int
	tab.eval("asked", &before)
	tab.eval(askedLater, &after)
	if before != after {
		tab.Errorf("%d requests while paused", after-before)
	}
	tab.press("Space")
	tab.until("pause.textContent === 'Pause'")
	tab.until(fmt.Sprintf("asked > %d", after))
}

func testNarrow(tab *tab, program string) {
	tab.do("Emulation.setDeviceMetricsOverride", params{"width": 360, "height": 740, "deviceScaleFactor": 2, "mobile": true})
	long := strings.Repeat("x", 60)
	s := startServer(tab.T, program, "SPLIT=v1=30,v9=30,"+long+"=40", "ERROR_RATE=0.2")
	tab.load(s.url)
	tab.setRate(100)
	tab.until("revisions.children.length === 3 && failures.children.length === 1 && total() > 196")
	var width, inner, elements int
	tab.eval("[document.documentElement.scrollWidth, innerWidth]", &[]any{&width, &inner})
	if width != 360 || inner != 360 {
		tab.Errorf("scrollable width %d, viewport %d, want 360", width, inner)
	}
	tab.eval("document.querySelectorAll('#dots .dot').length", &elements)
	if elements != 14*14 {
		tab.Errorf("%d dots, want 196", elements)
	}
	testRowsKeepHeight(tab)
	var v1, v9, x []string
	const look = `(name => {
		const dot = document.querySelector('[data-name$="-' + name + '"] .dot'), style = getComputedStyle(dot);
		return [style.backgroundColor, style.borderRadius, dot.textContent];
	})`
	tab.eval(look+"('v1')", &v1)
	tab.eval(look+"('v9')", &v9)
	tab.eval(look+"('"+long+"')", &x)
	if v1[0] != v9[0] || v1[1] == v9[1] || v9[2] != "v9" || x[2] != "xxxx" {
		tab.Errorf("v1 looks %q, v9 %q and %s %q: want one color and two shapes", v1, v9, long, x)
	}
}

// testRowsKeepHeight has counts that do not fit into the row.
func testRowsKeepHeight(tab *tab) {
	tab.pause()
	const heights = "[...revisions.children].map(item => item.querySelector('.facts').offsetHeight)"
	var before, after []int
	tab.eval(heights, &before)
	tab.eval(`[...tally.revisions.values()].forEach(revision => {
		revision.count = 123_456_789_012;
		revision.failed = 12_345_678_901;
		for (let n = 0; n < 1234; n++) revision.pods.set('pod ' + n, 1);
		revision.latencies.fill(9876);
	});
	render()`, nil)
	tab.until("[...revisions.children].every(item => item.innerText.includes('in all 123,456,789,012 requests, 12,345,678,901 failed · 1,234 pods'))")
	tab.eval(heights, &after)
	if !slices.Equal(before, after) {
		tab.Errorf("the facts have heights %v, and %v with large counts", before, after)
	}
}

// testPreview has the host of a tag, where one revision alone answers.
func testPreview(tab *tab, program string) {
	s := startServer(tab.T, program, "SPLIT=v1=50,v2=50,v3=0")
	tab.load("http://latest.localhost:" + s.port)
	tab.setRate(50)
	const only = "document.title === 'Only %s · Traffic split' && /^Only stock-service-example-%[1]s has answered here since \\d\\d:\\d\\d:\\d\\d\\.$/.test(document.querySelector('#only').textContent)"
	tab.until(fmt.Sprintf(only, "v3"))
	if r := tab.revisions(); len(r) != 1 || r["stock-service-example-v3"].Text != "100.0%" {
		tab.Errorf("revisions %v, want only v3's 100%%", r)
	}
	s.put(tab.T, "revision-v2.yaml") // whose revision is the latest now
	tab.until(fmt.Sprintf(only, "v2"))
	tab.wantNoRehearsal()
}

func testPlainRevision(tab *tab, program string) {
	tab.load(startServer(tab.T, program, "RESOURCE=v1").url)
	tab.setRate(50)
	tab.until("total() >= 20")
	if r := tab.revisions()["v1"]; r.Text != "100.0%" {
		tab.Errorf("%+v, want v1's 100%%", r)
	}
	tab.wantNoRehearsal()
}

// wantNoRehearsal wants nothing of it on the page, and no request about it.
func (tab *tab) wantNoRehearsal() {
	tab.Helper()
	var shown bool
	var elsewhere int
	tab.eval("[rehearsalShows(), elsewhere]", &[]any{&shown, &elsewhere})
	if shown || elsewhere > 0 {
		tab.Errorf("the rehearsal shows: %v, and is asked %d times", shown, elsewhere)
	}
}

// testManyNames has answers of which no two are from one revision or fail
// alike, but for one in four from a revision that sends no X-Revision.
func testManyNames(tab *tab, _ string) {
	tab.load(standIn(tab.T, func(w http.ResponseWriter, i int) {
		switch {
		case i%4 == 0:
			fmt.Fprint(w, "Welcome to the v1 app! \n")
		case i%4 == 1:
			http.Error(w, "", 500+i%100)
		default:
			w.Header().Set("X-Revision", fmt.Sprint("r-", 1010-i))
		}
	}))
	tab.setRate(50)
	tab.until("failures.children.length > 12 && total() >= 100")

	const limit = 12 + 1 // and the others
	revisions, failures := tab.revisions(), tab.failures()
	if len(revisions) != limit || len(failures) != limit {
		tab.Errorf("%d revisions and %d kinds of failure, want %d each", len(revisions), len(failures), limit)
	}
	if revisions["v1"].Count < 20 || revisions["others"].Count < 20 || failures["others "] < 10 {
		tab.Errorf("revisions %v, failures %v", revisions, failures)
	}
	var names []string
	tab.eval("[...revisions.children].map(item => item.dataset.name)", &names)
	numbers := regexp.MustCompile(`^r-(\d+)$`)
	last := 0
	for _, name := range names {
		if found := numbers.FindStringSubmatch(name); found != nil {
			number, _ := strconv.Atoi(found[1])
			if number < last {
				tab.Errorf("not in the order of their numbers: %q", names)
			}
			last = number
		}
	}
}

// testComplaints makes the page do what no other test may see.
func testComplaints(tab *tab, program string) {
	tab.load(startServer(tab.T, program, split).url)
	for _, wrong := range []string{
		"setTimeout(() => { throw new Error('thrown') })",
		"console.error('an error')",
		"console.warn('a warning')",
		"document.body.setAttribute('style', 'color: red')",
		"fetch('https://elsewhere.invalid/').catch(() => {})",
		"new Image().src = './no-such-picture'",
	} {
		before := len(tab.complaints(true))
		tab.eval("void ("+wrong+")", nil)
		for deadline := time.Now().Add(untilLimit); len(tab.complaints(true)) == before; time.Sleep(10 * time.Millisecond) {
			if time.Now().After(deadline) {
				tab.Fatalf("%s: no complaint", wrong)
			}
		}
	}
}
