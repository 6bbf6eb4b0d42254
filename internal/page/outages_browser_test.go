//go:build unix

package page

import (
	"fmt"
	"net/http"
	"sync/atomic"
	"time"
)

// hasten lets the page's clocks run four times as fast.
func (tab *tab) hasten() {
	tab.Helper()
	tab.prepare(`for (const clock of [Date, performance]) {
		const now = clock.now.bind(clock), start = now();
		clock.now = () => start + 4 * (now() - start);
	}`)
}

func testServerGone(tab *tab, program string) {
	tab.hasten()
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
	tab.load(startServer(tab.T, program, "SPLIT=v1=0,v2=100", "LATENCY=1s").url)
	tab.until(`/^Nothing has answered within 10 s since \d\d:\d\d:\d\d: too slow\. Trying again…$/.test(banner.textContent) && banner.checkVisibility()`)
	if n := tab.failures()["no answer in 10 s "]; n < 3 || len(tab.revisions()) > 0 {
		tab.Errorf("%d without an answer, and %v", n, tab.revisions())
	}
}

func testSlowRevision(tab *tab, program string) {
	tab.load(startServer(tab.T, program, "SPLIT=v1=0,v2=100", "LATENCY=1s").url) // 5 in flight even where timers are late
	tab.setRate(50)
	tab.until("total() >= 12")
	var most int
	tab.eval("askingMost", &most)
	if most != 5 { // of the 6 connections that browsers open to one host
		tab.Errorf("%d requests in flight, want 5", most)
	}
	tab.until("/^· actually sent: [3-5]\\.\\d$/.test(sent.textContent)")
	tab.setRate(1)
	tab.until("sent.textContent === ''")
}

// askedLater is how many requests there were 1.5 s later.
const askedLater = "new Promise(done => setTimeout(() => done(asked), 1500))"

// testHiddenTab opens another tab before the page's: the gap is told from one in
// which nothing answered.
func testHiddenTab(tab *tab, program string) {
	tab.hasten()
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
	tab.until("[...document.querySelectorAll('#notes .gap')].some(gap => gap.innerText === 'not watched' && gap.offsetWidth > 5)")
}

// testServiceGone has a gateway that answers for a Service that is gone.
func testServiceGone(tab *tab, _ string) {
	var gone atomic.Bool
	tab.hasten()
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
	tab.until("[...revisions.children].every(item => item.querySelector('.share').textContent === '–')")
	tab.until("[...document.querySelectorAll('#columns > span')].at(-2).innerHTML.match(/^<span class=\"bad\"[^>]*><\\/span>$/)") // failures alone
	gone.Store(false)
	tab.until("banner.textContent === '' && !banner.checkVisibility()")
}
