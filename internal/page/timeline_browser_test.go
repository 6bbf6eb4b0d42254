//go:build unix

package page

import (
	"fmt"
	"math"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"time"
)

// gapTime has at least one whole column of the timeline in it.
const gapTime = 4500 * time.Millisecond

// column is what the timeline shows of 2 s: the number of answers by revision,
// and of the failed ones under "". The last column is filling.
type column map[string]int

func (tab *tab) columns() (columns []column) {
	tab.Helper()
	tab.eval(`[...document.querySelectorAll('#columns > span')].map(column =>
		Object.fromEntries([...column.children].map(slice => [slice.dataset.name, Number(slice.style.flexGrow)])))`, &columns)
	return columns
}

// wantGap wants at least one column without answers between others.
func (tab *tab) wantGap() {
	tab.Helper()
	tab.until("document.querySelector('#columns').lastElementChild.children.length > 0")
	var filled strings.Builder
	for _, c := range tab.columns() {
		filled.WriteByte("_#"[min(len(c), 1)])
	}
	if !regexp.MustCompile("#_+#+$").MatchString(filled.String()) {
		tab.Errorf("no gap before the newest columns: %s", filled.String())
	}
}

// withColumns is true once n columns have the revision.
func withColumns(n int, revision string) string {
	return fmt.Sprintf("document.querySelectorAll('#columns > span:has([data-name$=%s])').length >= %d", revision, n)
}

// testOverTime shifts traffic, and waits for what shows it, without Reset.
func testOverTime(tab *tab, program string) {
	const v1, v2 = "stock-service-example-v1", "stock-service-example-v2"
	s := startServer(tab.T, program, "SPLIT=v1=100")
	tab.load(s.url)
	tab.setRate(50)
	tab.until(withColumns(4, "v1"))
	if r := tab.revisions()[v1]; r.Share != "100.0%" {
		tab.Errorf("before: %+v", r)
	}
	s.put(tab.T, "v1=50,v2=50")
	tab.until(withColumns(1, "v2"))
	shifted := tab.revisions()[v1].Count
	tab.until(withColumns(6, "v2"))
	tab.eval("window.was = asked", nil)
	tab.until(fmt.Sprintf("total() >= was + %d", capacity)) // none of before is among the latest
	tab.eval("pause.click()", nil)
	tab.until("total() === asked")

	revisions := tab.revisions()
	for name, r := range revisions {
		tab.plausible(name+" of the latest", r.Latest, capacity, .5)
	}
	if first, second := revisions[v1].Count, revisions[v2].Count; first < second+shifted/2 {
		tab.Errorf("in all %d and %d, and v1 had %d before the shift: want them counted too", first, second, shifted)
	}

	columns := tab.columns()
	if len(columns) != 91 {
		tab.Errorf("%d columns, want 90 and the one that is filling", len(columns))
	}
	step := slices.IndexFunc(columns, func(c column) bool { return c[v2] > 0 })
	var after column = column{}
	for i, c := range columns {
		if c[""] > 0 || len(c) > 2 {
			tab.Errorf("column %d has %v", i, c)
		}
		if i > step {
			after[v1] += c[v1]
			after[v2] += c[v2]
		}
	}
	tab.plausible("v2 in the columns after the shift", after[v2], after[v1]+after[v2], .5)
	if before := columns[step-2]; before[v1] == 0 || len(before) != 1 {
		tab.Errorf("before the shift a column has %v, want v1 alone", before)
	}

	// a column is drawn as high as the timeline, and its slices as their shares
	var drawn []map[string]float64
	tab.eval(`[...document.querySelectorAll('#columns > span')].map(column =>
		Object.fromEntries([...column.children].map(slice => [slice.dataset.name, slice.offsetHeight / timeline.offsetHeight])))`, &drawn)
	for i, c := range columns {
		for name, share := range drawn[i] {
			if want := float64(c[name]) / float64(c[v1]+c[v2]); math.Abs(share-want) > .04 {
				tab.Errorf("column %d: %s is drawn as %.2f, want %.2f", i, name, share, want)
			}
		}
	}

	time.Sleep(gapTime)
	tab.eval("pause.click()", nil)
	tab.until("total() > was")
	tab.wantGap()

	tab.until(fmt.Sprintf("/^Shares by half minute, the oldest first: (\\d\\d:\\d\\d:\\d\\d [^;]+(; |$)){6}$/.test(timeline.ariaLabel) && / %s \\d+\\.\\d%%/.test(timeline.ariaLabel)", v2))
	tab.until("[...document.querySelectorAll('#minutes span')].every(label => /^\\d\\d:\\d\\d$/.test(label.textContent))")
	tab.eval("pause.click()", nil)
	tab.until("total() === asked")
	tab.eval("reset.click()", nil)
	for i, c := range tab.columns() {
		if len(c) > 0 {
			tab.Errorf("after Reset column %d has %v", i, c)
		}
	}
}

// testHours has 100 000 answers of 33 minutes, and then a clock that is set.
func testHours(tab *tab, program string) {
	tab.load(startServer(tab.T, program, "RESOURCE=v1").url)
	tab.until("total() > 0")
	tab.eval("pause.click()", nil)
	tab.until("total() === asked")
	tab.eval(`{
		const real = Date.now;
		var later = 0, i = 0;
		Date.now = () => real() + later;
		var answers = n => {
			for (const end = i + n; i < end; i++) {
				later += 20;
				count({name: 'r-' + i % 40, failure: i % 7 ? '' : '500', pod: 'pod-' + i, latency: 1});
			}
			draw();
		};
		answers(5000);
	}`, nil)
	tab.until("total() >= 5000")
	before := tab.elements()
	tab.eval("answers(95_000)", nil)
	tab.until("total() >= 100_000")
	if after := tab.elements(); before != after {
		tab.Errorf("%d elements beside the timeline's after 5 000 answers, %d after 100 000", before, after)
	}
	for i, c := range tab.columns() {
		if n := len(c); n < 1 || n > 12+2 { // the others and the failed ones too
			tab.Errorf("column %d has %d slices", i, n)
		}
	}
	var pods, latest int
	tab.eval(`[...tally.revisions.values()].reduce(([pods, latest], revision) =>
		[pods + revision.pods.size, latest + revision.latest.ok + revision.latest.bad], [0, 0])`, &[]any{&pods, &latest})
	if pods != capacity || latest != capacity {
		tab.Errorf("%d pods and %d answers are kept, want those of the latest %d", pods, latest, capacity)
	}

	for _, change := range []string{"later += 24 * 3600_000", "later -= 3600_000"} {
		tab.eval(change+"; answers(1)", nil)
		columns := tab.columns()
		for i, c := range columns {
			if want := i / (len(columns) - 1); len(c) != want {
				tab.Errorf("%s: column %d has %v, want one answer in the last alone", change, i, c)
			}
		}
	}
}

// testServiceGone has a gateway that answers for a Service that is gone.
func testServiceGone(tab *tab, _ string) {
	var gone atomic.Bool
	tab.load(standIn(tab.T, func(w http.ResponseWriter, i int) {
		if gone.Load() {
			http.Error(w, "", http.StatusNotFound)
			return
		}
		w.Header().Set("X-Revision", fmt.Sprint("v", 1+i%2))
	}))
	tab.setRate(50)
	tab.until("total() >= 100 && banner.textContent === ''")
	gone.Store(true)
	tab.until(`/^Every answer since \d\d:\d\d:\d\d is 404, from no revision\.$/.test(banner.textContent) && banner.checkVisibility()`)
	tab.until("[...revisions.children].every(item => item.querySelector('.share').textContent === '0.0%')")
	last := func() column { columns := tab.columns(); return columns[len(columns)-2] }
	if c := last(); c[""] == 0 || len(c) != 1 {
		tab.Errorf("a column has %v, want failures alone", c)
	}
	gone.Store(false)
	tab.until("banner.textContent === '' && !banner.checkVisibility()")
}

// testPods has v1 with one pod and v2 with three, of which two go away.
func testPods(tab *tab, _ string) {
	var fewer atomic.Bool
	tab.load(standIn(tab.T, func(w http.ResponseWriter, i int) {
		revision, pod := i%2, i%6/2
		if revision == 0 || fewer.Load() {
			pod = 0
		}
		w.Header().Set("X-Revision", fmt.Sprint("v", 1+revision))
		w.Header().Set("X-Pod", fmt.Sprintf("v%d-pod-%d", 1+revision, pod))
	}))
	tab.setRate(50)
	facts := func(name, pods string) string {
		return fmt.Sprintf("document.querySelector('#revisions [data-name=%s] .facts').textContent.startsWith('from %s · median ')", name, pods)
	}
	tab.until(facts("v1", "1 pod") + " && " + facts("v2", "3 pods"))
	fewer.Store(true)
	tab.until(facts("v2", "1 pod"))
}
