//go:build unix

package page

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
)

// rehearsal asks the server about its split.
func (s *server) rehearsal(t *testing.T, method, split string) string {
	t.Helper()
	r, err := http.NewRequest(method, s.url+"/rehearsal", strings.NewReader(split))
	must(t, err)
	answer, err := http.DefaultClient.Do(r)
	must(t, err)
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	must(t, err)
	if answer.StatusCode != http.StatusOK {
		t.Fatalf("%s %s: %s %s", method, split, answer.Status, body)
	}
	return strings.TrimSpace(string(body))
}

func (s *server) put(t *testing.T, split string) {
	t.Helper()
	s.rehearsal(t, http.MethodPut, split)
}

func (s *server) wantSplit(t *testing.T, want string) {
	t.Helper()
	if got := s.rehearsal(t, http.MethodGet, ""); got != want {
		t.Errorf("the split is %s, want %s", got, want)
	}
}

// pressed is true while the n-th file, counted from 1, is the one marked; 0 is
// none of them.
func pressed(n int) string {
	return fmt.Sprintf("[...document.querySelectorAll('#files button')].map(button => button.ariaPressed === 'true').indexOf(true) === %d - 1 && files.children.length === 4", n)
}

// wantSteady wants no height of the rehearsal's but the one that it had before
// the script filled it.
func (tab *tab) wantSteady() {
	tab.Helper()
	var heights []int
	tab.eval("heights", &heights)
	if len(heights) != 1 || heights[0] == 0 {
		tab.Errorf("the rehearsal has had the heights %v: what is below it moves", heights)
	}
}

// watchHeight keeps each height that the rehearsal has had.
func (tab *tab) watchHeight(width, height int) {
	tab.Helper()
	tab.do("Emulation.setDeviceMetricsOverride", params{"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500})
	tab.prepare(`var heights = [];
		addEventListener('DOMContentLoaded', () => {
			const section = document.querySelector('#rehearsal');
			const watch = () => { if (heights.at(-1) !== section.offsetHeight) heights.push(section.offsetHeight); };
			new ResizeObserver(watch).observe(section);
			watch();
		})`)
}

// testFilesInOrder plays the article with the keyboard alone.
func testFilesInOrder(tab *tab, program string) {
	tab.watchHeight(1280, 900)
	s := startServer(tab.T, program, "SPLIT=v1=100")
	tab.load(s.url)
	tab.setRate(50)
	tab.until(pressed(1) + " && total() > 0 && !alone.checkVisibility()")

	press := func(file int, split string) {
		tab.Helper()
		tab.tabTo(fmt.Sprintf("#files li:nth-child(%d) button", file))
		tab.press("Enter")
		tab.until(pressed(file) + " && said.textContent.startsWith('" + split + " since ')")
		s.wantSplit(tab.T, split)
	}
	row := func(tag string) string {
		return "document.querySelector('#revisions [data-name=stock-service-example-" + tag + "]')"
	}
	link := "alone.checkVisibility() && alone.textContent === 'v3 alone answers at latest.localhost:" + s.port +
		"' && alone.href === 'http://latest.localhost:" + s.port + "/'"

	press(2, "v1=50,v2=50")
	tab.until(row("v2"))
	press(3, "v1=50,v2=50,v3=0")
	tab.until(link)
	tab.eval("window.was = asked", nil)
	tab.until("total() >= was + 50 && !" + row("v3"))
	press(4, "v1=40,v2=30,v3=30")
	tab.until(row("v3") + " && !alone.checkVisibility()")
	press(1, "v1=100")
	tab.until(link)
	tab.eval("window.was = asked", nil)
	tab.until(fmt.Sprintf("total() >= was + %d && %s.dataset.latest == %d", capacity, row("v1"), capacity))

	tab.wantSteady()
	tab.load("http://latest.localhost:" + s.port)
	tab.until("total() >= 5")
	if revisions := tab.revisions(); len(revisions) != 1 || revisions["stock-service-example-v3"].Count == 0 {
		tab.Errorf("at latest.localhost: %v, want v3 alone", revisions)
	}
	tab.wantNoRehearsal()
}

// testPercents edits them, as somebody else does meanwhile.
func testPercents(tab *tab, program string) {
	tab.watchHeight(360, 740)
	s := startServer(tab.T, program, "SPLIT=v1=50,v2=50")
	tab.load(s.url)
	tab.setRate(50)
	tab.until(pressed(2))
	input := func(tag string) string {
		return "document.querySelector('#inputs [data-name=" + tag + "] input')"
	}
	enter := func(tag, percent string) {
		tab.Helper()
		tab.eval(input(tag)+".select()", nil)
		tab.do("Input.insertText", params{"text": percent})
	}
	values := func(v1, v2, v3 int, sum string) string {
		return fmt.Sprintf("%s.value == %d && %s.value == %d && %s.value == %d && sum.textContent === '= %s %%'",
			input("v1"), v1, input("v2"), v2, input("v3"), v3, sum)
	}
	tab.until(values(50, 50, 0, "100"))

	enter("v1", "70")
	tab.until(values(70, 50, 0, "120") + " && sum.className === 'wrong'")
	tab.press("Enter")
	tab.until("said.textContent === 'Not changed: the percents add up to 120, not to 100' && said.className === 'wrong'")
	s.wantSplit(tab.T, "v1=50,v2=50")
	enter("v2", "")
	tab.press("Enter")
	tab.until(`/^Not changed: .*v2=/.test(said.textContent)`)
	s.wantSplit(tab.T, "v1=50,v2=50")

	// what somebody is typing stays, and the rest follows
	s.put(tab.T, "v1=90,v2=0,v3=10")
	tab.until(pressed(0) + " && said.className === '' && said.textContent.startsWith('v1=90,v2=0,v3=10 since ')")
	tab.until(input("v1") + ".value == 70 && " + input("v3") + ".value == 10")
	enter("v2", "20")
	tab.until(values(70, 20, 10, "100") + " && sum.className === ''")
	tab.tabTo("#percents button")
	tab.press("Space")
	tab.until("said.textContent.startsWith('v1=70,v2=20,v3=10 since ')")
	s.wantSplit(tab.T, "v1=70,v2=20,v3=10")

	s.put(tab.T, "v1=50,v2=50,v3=0")
	tab.until("alone.checkVisibility()")
	tab.wantSteady()

	// a name that no file has
	s.put(tab.T, "v1=20,v2=20,v3=20,blue=40")
	tab.until(input("blue") + ".value == 40 && " + values(20, 20, 20, "100"))
	s.put(tab.T, "v1=40,v2=30,v3=30")
	tab.until(pressed(4))
}

// testRehearsalGone has a file pressed when nothing answers.
func testRehearsalGone(tab *tab, program string) {
	s := startServer(tab.T, program, "SPLIT=v1=100")
	tab.load(s.url)
	tab.setRate(50)
	tab.until(pressed(1))
	s.kill()
	tab.eval("files.children[1].firstElementChild.click()", nil)
	tab.until("said.textContent === 'The rehearsal does not answer: the split may not have changed.'")
	tab.until(pressed(1) + " && banner.checkVisibility()")

	s = startServer(tab.T, program, "SPLIT=v1=50,v2=50", "PORT="+s.port)
	tab.until(pressed(2) + " && said.className === ''")
	s.kill()
	startServer(tab.T, program, "RESOURCE=v1", "PORT="+s.port)
	tab.until("!document.querySelector('#rehearsal').checkVisibility()")
}
