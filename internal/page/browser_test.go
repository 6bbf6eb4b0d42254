//go:build unix

package page

import (
	"bufio"
	"fmt"
	"maps"
	"math"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

const split = "SPLIT=v1=40,v2=30,v3=30"

const capacity = 396 // dots

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
		{"tag's host", false, testTagsHost},
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
	tab.setRate(50)
	tab.until("total() >= 100")
	before := tab.elements()
	tab.until("total() >= 500")
	tab.eval("pause.click()", nil) // what is read below is one state
	tab.until("total() === asked")

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
		if want := fmt.Sprintf("%.1f%%", 100*float64(r.Latest)/capacity); r.Share != want {
			tab.Errorf("%s: share %s, want %s", name, r.Share, want)
		}
		if !regexp.MustCompile(`^median [\d.]+ m?s · 99% in [\d.]+ m?s$`).MatchString(r.Facts) {
			tab.Errorf("%s: want its latencies, without pods: %q", name, r.Facts)
		}
		if want := fmt.Sprintf("in all %d answers", r.Count); r.Counts != want {
			tab.Errorf("%s: %q, want %q", name, r.Counts, want)
		}
	}
	tab.until("latest.textContent === 'shares of the latest 396 requests'")

	after := tab.elements()
	if before != after {
		tab.Errorf("%d elements beside the timeline's after 100 answers, %d after 500", before, after)
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

// testFailures has a bad v3: it alone is slow and fails.
func testFailures(tab *tab, program string) {
	const v3 = "stock-service-example-v3"
	tab.load(startServer(tab.T, program, split, "ERROR_RATE=0.3", "LATENCY=20ms").url)
	tab.setRate(50)
	tab.until("total() >= 300")
	tab.eval("pause.click()", nil) // what is read below is one state
	tab.until("total() === asked")

	var failed int
	tab.eval("Number(failed.dataset.count)", &failed)
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
		want := fmt.Sprintf("in all %d answers", r.Count-r.Failed)
		if name == v3 {
			tab.plausible("v3's failures", r.Failed, r.Count, .3)
			want += fmt.Sprintf(", %d failed", r.Failed)
			var median float64
			if fmt.Sscanf(r.Facts, "median %f ms", &median); median < 20 {
				tab.Errorf("v3 waits 20 ms, and the page has %q", r.Facts)
			}
		}
		if r.Counts != want {
			tab.Errorf("%s: %q, want %q", name, r.Counts, want)
		}
	}
}

func testServerGone(tab *tab, program string) {
	s := startServer(tab.T, program, split)
	tab.load(s.url)
	tab.setRate(50)
	tab.until("total() >= 5 && banner.textContent === ''")
	tab.eval("window.sameDocument = true", nil)

	s.kill()
	tab.until(`/^Nothing answers here since \d\d:\d\d:\d\d\. Trying again…$/.test(banner.textContent) && banner.checkVisibility()`)
	var before, after int
	tab.eval("asked", &before)
	tab.eval(askedLater, &after)
	if n := after - before; n < 1 || n > 5 { // two, and not 75
		tab.Errorf("%d requests in 1.5 s while nothing answers", n)
	}
	time.Sleep(gapTime)

	startServer(tab.T, program, split, "PORT="+s.port)
	tab.until("banner.textContent === '' && !banner.checkVisibility()")
	tab.eval("window.was = total()", nil)
	tab.until("total() >= was + 10 && sameDocument")
	tab.wantGap()
}

// testNoAnswerInTime shortens the time limit, and so checks that there is one,
// but not how long.
func testNoAnswerInTime(tab *tab, program string) {
	tab.prepare(`
		const timeout = AbortSignal.timeout.bind(AbortSignal);
		AbortSignal.timeout = ms => timeout(ms / 50);`)
	tab.load(startServer(tab.T, program, "SPLIT=v2=100", "LATENCY=1s").url)
	tab.until(`/^Nothing has answered within 10 s since \d\d:\d\d:\d\d: too slow\. Trying again…$/.test(banner.textContent) && banner.checkVisibility()`)
	if n := tab.failures()["no answer in 10 s "]; n < 3 || len(tab.revisions()) > 0 {
		tab.Errorf("%d without an answer, and %v", n, tab.revisions())
	}
}

func testSlowRevision(tab *tab, program string) {
	tab.load(startServer(tab.T, program, "SPLIT=v2=100", "LATENCY=1s").url) // 5 in flight even where timers are late
	tab.setRate(50)
	tab.until("total() >= 12")
	var most int
	tab.eval("askingMost", &most)
	if most != 5 { // of the 6 connections that browsers open to one host
		tab.Errorf("%d requests in flight, want 5", most)
	}
	tab.until("/^· really sent: [3-5]\\.\\d$/.test(sent.textContent)")
	tab.setRate(1)
	tab.until("sent.textContent === ''")
}

// askedLater is how many requests there were 1.5 s later.
const askedLater = "new Promise(done => setTimeout(() => done(asked), 1500))"

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
	var before, after, later int
	tab.eval("asked", &before)
	tab.eval(askedLater, &after)
	if before != after {
		tab.Errorf("%d requests while paused", after-before)
	}
	tab.press("Space")
	tab.until("pause.textContent === 'Pause'")
	tab.until(fmt.Sprintf("asked > %d", after))

	tab.press("Enter")
	tab.until("total() > 0 && pause.textContent === 'Resume'")
	tab.tabTo("#reset")
	tab.press("Space")
	tab.until("total() === 0 && revisions.children.length === 0 && waiting.checkVisibility()")
	tab.until("document.querySelectorAll('#dots [title]:not([title=\"\"])').length === 0")
	tab.eval("new Promise(done => setTimeout(() => done(total()), 300))", &later)
	if later != 0 {
		tab.Errorf("%d requests after pause and reset", later)
	}
}

// testHiddenTab opens another tab before the page's.
func testHiddenTab(tab *tab, program string) {
	tab.do("Emulation.setFocusEmulationEnabled", params{"enabled": false}) // it shows every tab
	tab.load(startServer(tab.T, program, split).url)
	tab.setRate(50)
	tab.until("total() > 0 && !document.hidden")
	var before, after int
	tab.eval("void (window.other = open('about:blank'))", nil)
	tab.until("document.hidden")
	tab.until("asking === 0")
	tab.eval("asked", &before)
	time.Sleep(gapTime)
	tab.eval("asked", &after)
	if before != after {
		tab.Errorf("%d requests while hidden", after-before)
	}
	tab.eval("other.close()", nil)
	tab.until(fmt.Sprintf("!document.hidden && total() > %d", after))
	tab.wantGap()
}

func testNarrow(tab *tab, program string) {
	tab.do("Emulation.setDeviceMetricsOverride", params{"width": 360, "height": 740, "deviceScaleFactor": 2, "mobile": true})
	long := strings.Repeat("x", 60)
	s := startServer(tab.T, program, "SPLIT=v1=30,v9=30,"+long+"=40", "ERROR_RATE=0.2")
	tab.load(s.url)
	tab.setRate(50)
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
	tab.eval("pause.click()", nil)
	tab.until("total() === asked")
	const heights = "[...revisions.children].map(item => item.offsetHeight)"
	var before, after []int
	tab.eval(heights, &before)
	tab.eval(`void [...tally.revisions.values()].forEach(revision => {
		revision.count = 123_456_789_012;
		revision.failed = 12_345_678_901;
		for (let n = 0; n < 1234; n++) revision.pods.set('pod ' + n, 1);
		revision.latencies.fill(9876);
		draw();
	})`, nil)
	tab.until("[...revisions.children].every(item => /from 1,234 pods/.test(item.innerText) && /111,111,110,111 answers, 12,345,678,901 failed/.test(item.innerText))")
	tab.eval(heights, &after)
	if !slices.Equal(before, after) {
		tab.Errorf("the rows have heights %v, and %v with large counts", before, after)
	}
}

func testTagsHost(tab *tab, program string) {
	s := startServer(tab.T, program, split)
	tab.load("http://v3.localhost:" + s.port)
	tab.setRate(50)
	tab.until("total() >= 20")
	revisions := tab.revisions()
	if r := revisions["stock-service-example-v3"]; len(revisions) != 1 || r.Share != "100.0%" {
		tab.Errorf("revisions %v, want only v3's 100%%", revisions)
	}
	tab.wantNoRehearsal()
}

func testPlainRevision(tab *tab, program string) {
	tab.load(startServer(tab.T, program, "RESOURCE=v1").url)
	tab.setRate(50)
	tab.until("total() >= 20")
	if r := tab.revisions()["v1"]; r.Share != "100.0%" {
		tab.Errorf("%+v, want v1's 100%%", r)
	}
	tab.wantNoRehearsal()
}

// wantNoRehearsal wants nothing of it on the page, and no request about it.
func (tab *tab) wantNoRehearsal() {
	tab.Helper()
	var shown bool
	var elsewhere int
	tab.eval("[document.querySelector('#rehearsal').checkVisibility(), elsewhere]", &[]any{&shown, &elsewhere})
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

// standIn serves the page, and to its requests what answer gives for each,
// counted from 0.
func standIn(t *testing.T, answer func(w http.ResponseWriter, i int)) (url string) {
	t.Helper()
	var n atomic.Int64
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.Contains(r.Header.Get("Accept"), "text/html") {
			Serve(w)
			return
		}
		answer(w, int(n.Add(1))-1)
	}))
	t.Cleanup(s.Close)
	return s.URL
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

func (tab *tab) setRate(perSecond int) {
	tab.Helper()
	tab.eval(fmt.Sprintf("rate.value = %d; rate.dispatchEvent(new Event('input'))", perSecond), nil)
}

// tabTo presses Tab until the element has the focus, and one can see it.
func (tab *tab) tabTo(selector string) {
	tab.Helper()
	for range 30 {
		tab.press("Tab")
		var focused bool
		var outline string
		tab.eval("[document.activeElement.matches('"+selector+"'), getComputedStyle(document.activeElement).outlineStyle]", &[]any{&focused, &outline})
		if !focused {
			continue
		}
		if outline != "solid" {
			tab.Errorf("%s: the focus is not seen", selector)
		}
		return
	}
	tab.Fatalf("Tab does not reach %s", selector)
}

func (tab *tab) elements() (n int) {
	tab.Helper()
	tab.eval("document.querySelectorAll(':not(#columns *)').length", &n)
	return n
}

// revision is what the page says of one.
type revision struct {
	Count, Failed, Latest int
	Share, Facts, Counts  string
}

func (tab *tab) revisions() (byName map[string]revision) {
	tab.Helper()
	tab.eval(`Object.fromEntries([...revisions.children].map(item => [item.dataset.name, {
		count: Number(item.dataset.count), failed: Number(item.dataset.failed), latest: Number(item.dataset.latest),
		share: item.querySelector('.share').textContent,
		facts: item.querySelector('.facts').textContent,
		counts: item.querySelector('.counts').textContent,
	}]))`, &byName)
	return byName
}

// failures are counts by what happened and to whom.
func (tab *tab) failures() (byKind map[string]int) {
	tab.Helper()
	tab.eval("Object.fromEntries([...failures.children].map(({dataset: d}) => [d.kind + ' ' + d.name, Number(d.count)]))", &byKind)
	return byKind
}

// plausible allows 5 standard deviations: chance does more in 1 of 1.7 million.
func (tab *tab) plausible(what string, count, n int, p float64) {
	tab.Helper()
	off := math.Abs(float64(count) - float64(n)*p)
	if bound := 5 * math.Sqrt(float64(n)*p*(1-p)); off > bound {
		tab.Errorf("%s: %d of %d, want a share of %v", what, count, n, p)
	}
}

type server struct {
	url, port string
	cmd       *exec.Cmd
}

// startServer runs the program until the test ends, at a free port unless env
// has another.
func startServer(t *testing.T, program string, env ...string) *server {
	t.Helper()
	s := &server{cmd: exec.Command(program)}
	s.cmd.Env = append([]string{"PORT=0"}, env...)
	stderr, err := s.cmd.StderrPipe()
	must(t, err)
	must(t, s.cmd.Start())
	t.Cleanup(s.kill)
	line, err := bufio.NewReader(stderr).ReadString('\n')
	address := regexp.MustCompile(`url=(http://localhost:(\d+))`).FindStringSubmatch(line)
	if address == nil {
		t.Fatalf("%s: %q, %v", program, line, err)
	}
	s.url, s.port = address[1], address[2]
	return s
}

func (s *server) kill() {
	s.cmd.Process.Kill()
	s.cmd.Wait()
}
