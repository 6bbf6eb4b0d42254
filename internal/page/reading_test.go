//go:build unix

package page

import (
	"bufio"
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
)

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

// pause waits for the answers that are still to come: what is read afterwards is
// one state.
func (tab *tab) pause() {
	tab.Helper()
	tab.eval("pause.click()", nil)
	tab.until("total() === asked")
}

// setRate may be more than the page lets a person choose.
func (tab *tab) setRate(perSecond int) {
	tab.Helper()
	tab.eval(fmt.Sprintf("rate.max = 200; rate.value = %d; rate.dispatchEvent(new Event('input'))", perSecond), nil)
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
	Share                 float64
	Text, Facts, Alarm    string
	Expected              string
}

func (tab *tab) revisions() (byName map[string]revision) {
	tab.Helper()
	tab.eval(`Object.fromEntries([...revisions.children].map(item => [item.dataset.name, {
		count: Number(item.dataset.count), failed: Number(item.dataset.failed), latest: Number(item.dataset.latest),
		share: Number(item.dataset.share), expected: item.dataset.expected,
		text: item.querySelector('.share').textContent,
		facts: item.querySelector('.facts').textContent,
		alarm: item.querySelector('.alarm').textContent,
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
