//go:build unix

package page

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// rehearsal asks the server about its split.
func (s *server) rehearsal(t *testing.T, method, change string) string {
	t.Helper()
	r, err := http.NewRequest(method, s.url+"/rehearsal", strings.NewReader(change))
	must(t, err)
	answer, err := http.DefaultClient.Do(r)
	must(t, err)
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	must(t, err)
	if answer.StatusCode != http.StatusOK {
		t.Fatalf("%s %s: %s %s", method, change, answer.Status, body)
	}
	return strings.TrimSpace(string(body))
}

func (s *server) put(t *testing.T, change string) {
	t.Helper()
	s.rehearsal(t, http.MethodPut, change)
}

func (s *server) wantSplit(t *testing.T, want string) {
	t.Helper()
	if got := s.rehearsal(t, http.MethodGet, ""); got != want {
		t.Errorf("the split is %s, want %s", got, want)
	}
}

// pressed is true while the button of that change is the one marked, or none is
// for "".
func pressed(change string) string {
	return fmt.Sprintf("[...document.querySelectorAll('#changes button[aria-pressed=true]')].map(button => button.dataset.change).join() === '%s' && files.children.length === 4", change)
}

func row(tag string) string {
	return "document.querySelector('#revisions [data-name=stock-service-example-" + tag + "]')"
}

// wantSteady wants no height of the rehearsal's but the first that is shown.
func (tab *tab) wantSteady() {
	tab.Helper()
	var heights []int
	tab.eval("heights", &heights)
	if len(heights) != 1 {
		tab.Errorf("the rehearsal has had the heights %v: what is below it moves", heights)
	}
}

// watchHeight keeps each height that is shown of what the rehearsal adds above
// the timeline.
func (tab *tab) watchHeight(width, height int) {
	tab.Helper()
	tab.do("Emulation.setDeviceMetricsOverride", params{"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500})
	tab.prepare(`var heights = [];
		addEventListener('DOMContentLoaded', () => new ResizeObserver(() => {
			const top = document.querySelector('#course').offsetTop;
			if (top && heights.at(-1) !== top) heights.push(top);
		}).observe(document.querySelector('main')));`)
}

// testFilesInOrder plays the article with the keyboard alone, and rolls back.
func testFilesInOrder(tab *tab, program string) {
	tab.watchHeight(1280, 900)
	s := startServer(tab.T, program, "SPLIT=v1=100")
	tab.load(s.url)
	tab.setRate(50)
	tab.until(pressed("revision-v1.yaml") + " && total() > 0 && !alone.checkVisibility()")

	// press wants each revision's row at once, with its percent beside its share
	press := func(button, change, split string) {
		tab.Helper()
		tab.tabTo(button)
		tab.press("Enter")
		tab.until(pressed(change) + " && said.textContent.startsWith('" + change + " since ')")
		s.wantSplit(tab.T, split)
		revisions := tab.revisions()
		for target := range strings.SplitSeq(split, ",") {
			tag, percent, _ := strings.Cut(target, "=")
			if got := revisions["stock-service-example-"+tag].Expected; got != percent {
				tab.Errorf("after %s the page expects %q%% of %s, want %s%%", change, got, tag, percent)
			}
			tab.until(fmt.Sprintf("%s.querySelector('.expected').innerText === '%s%%' && %[1]s.querySelector('.mark').style.left === '%[2]s%%' && %[1]s.querySelector('.mark').checkVisibility()", row(tag), percent))
		}
	}
	file := func(n int) string { return fmt.Sprintf("#files li:nth-child(%d) button", n) }
	answers := func(tag string) string {
		return fmt.Sprintf("alone.checkVisibility() && alone.textContent === '%s alone answers at latest.localhost:%s' && alone.href === 'http://latest.localhost:%[2]s/'", tag, s.port)
	}

	press("#canary", "v1=95,v2=5", "v1=95,v2=5")
	press(file(2), "revision-v2.yaml", "v1=50,v2=50")
	tab.until(row("v2") + ".dataset.share > 0")
	press(file(3), "revision-v3.yaml", "v1=50,v2=50,v3=0")
	tab.until(answers("v3"))
	tab.eval("window.was = asked", nil)
	tab.until("total() >= was + 50 && " + row("v3") + ".dataset.count === '0'")
	press(file(4), "revision-v3-2.yaml", "v1=40,v2=30,v3=30")
	tab.until(row("v3") + ".dataset.share > 0 && !alone.checkVisibility()")
	press(file(2), "revision-v2.yaml", "v1=50,v2=50")
	tab.until(row("v3") + ".dataset.share === '0' && " + row("v3") + ".dataset.expected === '0'")
	press(file(1), "revision-v1.yaml", "v1=100")
	tab.until(row("v1") + ".dataset.share === '1'")
	tab.wantSteady()
}

// testChange wants, within three seconds after each change, shares of some
// requests since the change and of no others, at the rate that the page begins
// with.
func testChange(tab *tab, program string) {
	const v1, v2 = "stock-service-example-v1", "stock-service-example-v2"
	s := startServer(tab.T, program, "SPLIT=v1=0,v2=100")
	tab.load(s.url)
	tab.until(row("v2") + ".dataset.latest >= 30 && " + row("v2") + ".dataset.share === '1'")
	for _, change := range []struct{ put, up, down string }{{"v1=100", "v1", "v2"}, {"v2=100", "v2", "v1"}} {
		s.put(tab.T, change.put)
		put := time.Now()
		tab.until(fmt.Sprintf("%s.dataset.share === '1' && %s.dataset.share === '0' && %[1]s.dataset.latest >= 5", row(change.up), row(change.down)))
		if took := time.Since(put); took > 3*time.Second {
			tab.Errorf("the page shows %s only %v after the change", change.put, took)
		}
		tab.until(row(change.up) + ".dataset.latest >= 20")
	}
	tab.pause()
	// the dots of before are dimmed, and those of the shares are not
	var dimmed, bright int
	tab.eval("[document.querySelectorAll('#dots .before[title^=stock]').length, document.querySelectorAll('#dots [title^=stock]:not(.before)').length]", &[]any{&dimmed, &bright})
	if revisions := tab.revisions(); bright != revisions[v2].Latest || dimmed+bright != revisions[v1].Count+revisions[v2].Count {
		tab.Errorf("%d dots are dimmed and %d are not, of %+v", dimmed, bright, revisions)
	}
}

// testChangeOnACluster has a change that nobody tells of.
func testChangeOnACluster(tab *tab, _ string) {
	tab.hasten()
	var changed atomic.Bool
	tab.load(standIn(tab.T, func(w http.ResponseWriter, i int) {
		if changed.Load() {
			w.Header().Set("X-Revision", "v2")
			return
		}
		w.Header().Set("X-Revision", "v1")
	}))
	tab.setRate(50)
	tab.until("total() >= 100")
	if text := tab.revisions()["v1"].Text; text != "100.0%" {
		tab.Errorf("v1 is shown as %s", text)
	}
	// from one revision alone, as a preview's are
	tab.until("document.title === 'Only v1 · Traffic split'")
	changed.Store(true)
	tab.until("document.title === 'Traffic split'")
	tab.eval("window.changed = performance.now()", nil)
	tab.until("revisions.children.length === 2 && revisions.children[0].dataset.share === '0' && revisions.children[1].dataset.share === '1'")
	var took float64
	tab.eval("performance.now() - changed", &took)
	if took < 5_000 || took > 20_000 {
		tab.Errorf("v1 had answered in the last 10 s until %v ms after the change", took)
	}
	tab.until(`/^of the \d+ answers of the last 10 s$/.test(latest.textContent)`)
	tab.wantNoRehearsal()
	tab.until("!document.querySelector('#notes .line') && document.querySelectorAll('#dots .before').length === 0")
}

// testChangesAreMarked has changes by the page's buttons and from outside.
func testChangesAreMarked(tab *tab, program string) {
	tab.hasten()
	s := startServer(tab.T, program, "SPLIT=v1=100")
	tab.load(s.url)
	tab.until(pressed("revision-v1.yaml") + " && !document.querySelector('#notes .line')")
	for i, change := range []string{"revision-v3.yaml", "v1=50,v2=50", "revision-v3-2.yaml", "revision-v2.yaml", "revision-v1.yaml"} {
		if i%2 == 0 {
			tab.eval("document.querySelector('[data-change=\""+change+"\"]').click()", nil)
		} else {
			s.put(tab.T, change)
		}
		tab.until(fmt.Sprintf(`document.querySelectorAll('#notes .line').length === %d && /^%[1]d \d\d:\d\d:\d\d %s$/.test(marks.firstElementChild.textContent.trim())`, i+1, change))
	}
	// the same again changes nothing, and the latest revision alone does
	s.put(tab.T, "v1=100")
	s.put(tab.T, "revision-v2.yaml")
	tab.until(pressed("revision-v2.yaml") + " && document.querySelectorAll('#notes .line').length === 6")
	s.put(tab.T, "revision-v3.yaml")
	tab.until(pressed("revision-v3.yaml"))
	s.put(tab.T, "v1=50,v2=50")
	tab.until(pressed("") + " && document.querySelectorAll('#notes .line').length === 8")
	s.put(tab.T, "revision-v2.yaml") // whose percents are the same
	tab.until(pressed("revision-v2.yaml") + " && document.querySelectorAll('#notes .line').length === 9")
	// a mark moves with the columns of its time, and leaves with them
	var at []float64
	tab.eval("new Promise(done => { const line = [...document.querySelectorAll('#notes .line')].at(-1), was = line.offsetLeft; setTimeout(() => done([was, line.offsetLeft, timeline.offsetWidth]), 1500); })", &at)
	if moved := (at[0] - at[1]) / at[2] * 180; moved < 3 || moved > 12 { // 6 s, and what the page is late
		tab.Errorf("in 6 s the mark has moved by %.1f s of the timeline", moved)
	}
	tab.eval("{ const now = Date.now; Date.now = () => now() + 200_000; }", nil)
	tab.until("marks.children.length === 0 && !document.querySelector('#notes .line')")
}

// testInSight wants what changes beside the buttons that change it.
func testInSight(tab *tab, program string) {
	s := startServer(tab.T, program, "SPLIT=v1=40,v2=30,v3=30")
	for _, size := range []struct{ width, height int }{{1280, 720}, {360, 740}} {
		tab.do("Emulation.setDeviceMetricsOverride", params{"width": size.width, "height": size.height, "deviceScaleFactor": 1, "mobile": size.width < 500})
		tab.load(s.url)
		tab.until(pressed("revision-v3-2.yaml") + " && revisions.children.length === 3")
		var tops, bottoms []float64
		const boxes = "['#changes', '#timeline', '#revisions li:last-child .share', '#dots', '#all'].map(selector => document.querySelector(selector).getBoundingClientRect()"
		tab.eval(boxes+".top)", &tops)
		tab.eval(boxes+".bottom)", &bottoms)
		if tops[0] < 0 || bottoms[2] > float64(size.height) || bottoms[1] > float64(size.height) {
			tab.Errorf("%d × %d: the files begin at %v, the timeline ends at %v and the shares at %v", size.width, size.height, tops[0], bottoms[1], bottoms[2])
		}
		if bottoms[0] > tops[1] || bottoms[2] > tops[3] || bottoms[3] > tops[4] {
			tab.Errorf("%d × %d: not files, timeline and shares, dots and totals: tops %v, bottoms %v", size.width, size.height, tops, bottoms)
		}
	}
}

// testPercents edits them, as somebody else does meanwhile.
func testPercents(tab *tab, program string) {
	tab.watchHeight(1280, 900)
	s := startServer(tab.T, program, "SPLIT=v1=50,v2=50")
	tab.load(s.url)
	tab.setRate(50)
	tab.until(pressed("revision-v2.yaml"))
	const input = "document.querySelector('#split').value"
	enter := func(percents string) {
		tab.Helper()
		tab.eval("document.querySelector('#split').select()", nil)
		tab.do("Input.insertText", params{"text": percents})
	}
	tab.until(input + " === 'v1=50,v2=50'")

	enter("v1=70,v2=50")
	tab.press("Enter")
	tab.until("said.textContent === 'Not changed: the percents add up to 120, not to 100' && said.className === 'wrong'")
	s.wantSplit(tab.T, "v1=50,v2=50")

	// what somebody is typing stays, and the rest follows
	s.put(tab.T, "v1=90,v2=0,v3=10")
	tab.until(pressed("") + " && said.className === '' && said.textContent.startsWith('v1=90,v2=0,v3=10 since ')")
	tab.until(input + " === 'v1=70,v2=50' && " + row("v3") + ".dataset.expected === '10'")
	enter("v1=70, v2=20, blue=10") // a name that no file has
	tab.tabTo("#percents button")
	tab.press("Space")
	tab.until("said.textContent.startsWith('v1=70,v2=20,blue=10 since ') && " + input + " === 'v1=70,v2=20,blue=10'")
	s.wantSplit(tab.T, "v1=70,v2=20,blue=10")
	tab.until("alone.hidden && " + row("blue") + ".dataset.expected === '10'")
	tab.wantSteady()
}

// testRehearsalGone has a file pressed when nothing answers.
func testRehearsalGone(tab *tab, program string) {
	s := startServer(tab.T, program, "SPLIT=v1=100")
	tab.load(s.url)
	tab.setRate(50)
	tab.until(pressed("revision-v1.yaml"))
	s.kill()
	tab.eval("files.children[1].firstElementChild.click()", nil)
	tab.until("said.textContent === 'The rehearsal does not answer: the split may not have changed.'")
	tab.until(pressed("revision-v1.yaml") + " && banner.checkVisibility()")

	s = startServer(tab.T, program, "SPLIT=v1=50,v2=50", "PORT="+s.port)
	tab.until(pressed("revision-v2.yaml") + " && said.className === ''")
	s.kill()
	startServer(tab.T, program, "RESOURCE=v1", "PORT="+s.port)
	tab.until("total() > 0 && !rehearsalShows()")
}
