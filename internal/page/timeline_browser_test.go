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

// gapTime has at least one whole column of the timeline in it, where the clocks
// run four times as fast.
const gapTime = 4500 * time.Millisecond / 4

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
	if !regexp.MustCompile("#_+#").MatchString(filled.String()) {
		tab.Errorf("no gap between columns: %s", filled.String())
	}
}

// withColumns is true once n columns have the revision.
func withColumns(n int, revision string) string {
	return fmt.Sprintf("document.querySelectorAll('#columns > span:has([data-name$=%s])').length >= %d", revision, n)
}

// testOverTime shifts traffic, and waits for what shows it, without Reset.
func testOverTime(tab *tab, program string) {
	const v1, v2 = "stock-service-example-v1", "stock-service-example-v2"
	tab.hasten()
	s := startServer(tab.T, program, "SPLIT=v1=100")
	tab.load(s.url)
	tab.setRate(100)
	tab.until(withColumns(4, "v1"))
	if r := tab.revisions()[v1]; r.Text != "100.0%" {
		tab.Errorf("before: %+v", r)
	}
	s.put(tab.T, "v1=50,v2=50")
	tab.until(withColumns(1, "v2"))
	shifted := tab.revisions()[v1].Count
	tab.until(withColumns(6, "v2"))
	tab.pause()
	revisions := tab.revisions()
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
	before := 0 // columns
	for _, c := range columns[:step] {
		before += min(c[v1], 1)
	}
	if before < 3 { // and none of them has v2
		tab.Errorf("v1 answered in %d columns before the shift", before)
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
	tab.eval("window.was = total(); pause.click()", nil)
	tab.until("total() > was")
	tab.wantGap()
	tab.until(fmt.Sprintf("/^Shares by half minute, the oldest first: (\\d\\d:\\d\\d:\\d\\d [^;]+(; |$)){6}$/.test(document.querySelector('#columns').ariaLabel) && / %s \\d+\\.\\d%%/.test(document.querySelector('#columns').ariaLabel)", v2))
	tab.until("[...document.querySelectorAll('#minutes span')].every(label => /^\\d\\d:\\d\\d$/.test(label.textContent))")
}

// testHours has 12 000 answers of 4 minutes, and then a clock that is set.
func testHours(tab *tab, program string) {
	tab.load(startServer(tab.T, program, "RESOURCE=v1").url)
	tab.until("total() > 0")
	tab.pause()
	tab.eval(`paused = false; // but asks no more
	{
		var later = 0, i = 0;
		for (const clock of [Date, performance]) {
			const now = clock.now.bind(clock);
			clock.now = () => now() + later;
		}
		var answers = n => {
			for (const end = i + n; i < end; i++) {
				later += 20;
				count({name: 'r-' + i % 40, failure: i % 7 ? '' : '500', pod: 'pod-' + i, split: '', latency: 1});
				if (i % 100 === 0) render();
			}
			render();
		};
		answers(2_000);
	}`, nil)
	tab.until("total() >= 2000")
	before := tab.elements()
	tab.eval("answers(10_000)", nil)
	tab.until("total() >= 12_000")
	if after := tab.elements(); before != after {
		tab.Errorf("%d elements beside the timeline's after 2 000 answers, %d after 12 000", before, after)
	}
	for i, c := range tab.columns() {
		if n := len(c); n < 1 || n > 12+2 { // the others and the failed ones too
			tab.Errorf("column %d has %d slices", i, n)
		}
	}
	var pods, latest int
	tab.eval(`[...tally.revisions.values()].reduce(([pods, latest], revision) =>
		[pods + revision.pods.size, latest + revision.latest.ok + revision.latest.bad], [0, 0])`, &[]any{&pods, &latest})
	const most = 10_000/20 + 1 // answers in 10 s
	if pods != latest || latest > most || latest < most/2 {
		tab.Errorf("%d pods and %d answers are kept, want those of the last 10 s", pods, latest)
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

// testPods has v1 with one pod and v2 with three, of which two go away.
func testPods(tab *tab, _ string) {
	tab.hasten()
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
		return fmt.Sprintf("document.querySelector('#revisions [data-name=%s] .facts').textContent.includes(' · %s · median ')", name, pods)
	}
	tab.until(facts("v1", "1 pod") + " && " + facts("v2", "3 pods"))
	fewer.Store(true)
	tab.until(facts("v2", "1 pod"))
}
