//go:build unix

package page

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

const (
	callLimit  = 30 * time.Second
	untilLimit = 60 * time.Second
)

// chromium is a headless browser, driven by the Chrome DevTools Protocol.
type chromium struct {
	commands *os.File
	gone     chan struct{} // closed when the browser is

	mu      sync.Mutex
	last    int
	waiting map[int]chan message
	events  map[string][]message // by session
}

// message is a command, its result or an event.
type message struct {
	ID        int             `json:"id,omitempty"`
	SessionID string          `json:"sessionId,omitempty"`
	Method    string          `json:"method,omitempty"`
	Params    json.RawMessage `json:"params,omitempty"`
	Result    json.RawMessage `json:"result,omitempty"`
	Error     *struct {
		Message string `json:"message"`
	} `json:"error,omitempty"`
}

// findChromium skips the test where there is none.
func findChromium(t *testing.T) string {
	names := []string{"chromium", "chromium-browser", "google-chrome"}
	for _, name := range names {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	t.Skip("needs a browser: none of", names, "is on PATH")
	return ""
}

// startChromium starts a browser with an empty profile that ends with the test.
func startChromium(t *testing.T, path string) *chromium {
	t.Helper()
	dir, err := os.MkdirTemp("", "page-test-chromium-")
	must(t, err)
	t.Cleanup(func() {
		for deadline := time.Now().Add(10 * time.Second); os.RemoveAll(dir) != nil; time.Sleep(50 * time.Millisecond) {
			if time.Now().After(deadline) { // its helpers write until they notice that it is gone
				t.Errorf("%s is left behind", dir)
				return
			}
		}
	})
	fromUs, commands, err := os.Pipe()
	must(t, err)
	events, toUs, err := os.Pipe()
	must(t, err)
	stderr, err := os.Create(filepath.Join(dir, "stderr"))
	must(t, err)

	cmd := exec.Command(path, "--remote-debugging-pipe", "--user-data-dir="+filepath.Join(dir, "profile"),
		"--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
		"--disable-background-networking", "--disable-component-update", "--disable-sync",
		"--disable-dev-shm-usage", "about:blank")
	cmd.ExtraFiles = []*os.File{fromUs, toUs}                                                                 // 3 and 4
	cmd.Env = append(os.Environ(), "HOME="+dir, "TMPDIR="+dir, "XDG_CONFIG_HOME="+dir, "XDG_CACHE_HOME="+dir) // all of it is removed
	cmd.Stderr = stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	must(t, cmd.Start())
	t.Cleanup(func() {
		syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		cmd.Wait()
		commands.Close()
		if t.Failed() {
			log, _ := os.ReadFile(stderr.Name())
			t.Logf("the browser's stderr:\n%s", log)
		}
	})
	for _, f := range []*os.File{fromUs, toUs, stderr} {
		f.Close()
	}

	c := &chromium{
		commands: commands,
		gone:     make(chan struct{}),
		waiting:  map[int]chan message{},
		events:   map[string][]message{},
	}
	go c.read(events)
	return c
}

func (c *chromium) read(events *os.File) {
	defer close(c.gone)
	defer events.Close()
	for r := bufio.NewReader(events); ; {
		text, err := r.ReadBytes(0)
		if err != nil {
			return
		}
		var m message
		if err := json.Unmarshal(text[:len(text)-1], &m); err != nil {
			return
		}
		c.mu.Lock()
		if m.ID == 0 {
			c.events[m.SessionID] = append(c.events[m.SessionID], m)
		} else {
			c.waiting[m.ID] <- m
			delete(c.waiting, m.ID)
		}
		c.mu.Unlock()
	}
}

func (c *chromium) send(session, method string, params any) (<-chan message, error) {
	p, err := json.Marshal(params)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.last++
	text, err := json.Marshal(message{ID: c.last, SessionID: session, Method: method, Params: p})
	if err != nil {
		return nil, err
	}
	result := make(chan message, 1)
	c.waiting[c.last] = result
	_, err = c.commands.Write(append(text, 0))
	return result, err
}

// call sends a command and puts its result into result, unless that is nil.
func (c *chromium) call(session, method string, params, result any) error {
	reply, err := c.send(session, method, params)
	if err != nil {
		return fmt.Errorf("%s: %w", method, err)
	}
	select {
	case m := <-reply:
		if m.Error != nil {
			return fmt.Errorf("%s: %s", method, m.Error.Message)
		}
		if result == nil {
			return nil
		}
		return json.Unmarshal(m.Result, result)
	case <-c.gone:
		return fmt.Errorf("%s: the browser is gone", method)
	case <-time.After(callLimit):
		return fmt.Errorf("%s: no result within %s", method, callLimit)
	}
}

// tab is one page of the browser.
type tab struct {
	*testing.T
	browser         *chromium
	target, session string
}

// open makes a tab in a window of its own, so that it counts as visible.
func (c *chromium) open(t *testing.T) *tab {
	t.Helper()
	tab := &tab{T: t, browser: c}
	var made struct{ TargetID string }
	must(t, c.call("", "Target.createTarget", params{"url": "about:blank", "newWindow": true}, &made))
	tab.target = made.TargetID
	t.Cleanup(func() { c.call("", "Target.closeTarget", params{"targetId": tab.target}, nil) })
	var attached struct{ SessionID string }
	must(t, c.call("", "Target.attachToTarget", params{"targetId": tab.target, "flatten": true}, &attached))
	tab.session = attached.SessionID
	for _, domain := range []string{"Page", "Runtime", "Log"} {
		tab.do(domain+".enable", nil)
	}
	// of several windows only one has the focus
	tab.do("Emulation.setFocusEmulationEnabled", params{"enabled": true})
	return tab
}

type params map[string]any

func (tab *tab) do(method string, p params) {
	tab.Helper()
	must(tab.T, tab.browser.call(tab.session, method, p, nil))
}

// prepare runs script in every document of the tab, before the document's own.
func (tab *tab) prepare(script string) {
	tab.Helper()
	tab.do("Page.addScriptToEvaluateOnNewDocument", params{"source": script})
}

// try evaluates expression, a promise too, into value.
func (tab *tab) try(expression string, value any) error {
	var evaluated struct {
		Result           struct{ Value json.RawMessage }
		ExceptionDetails *struct {
			Exception struct{ Description string }
		}
	}
	err := tab.browser.call(tab.session, "Runtime.evaluate",
		params{"expression": expression, "returnByValue": true, "awaitPromise": true, "userGesture": true}, &evaluated)
	switch {
	case err != nil:
		return err
	case evaluated.ExceptionDetails != nil:
		return errors.New(evaluated.ExceptionDetails.Exception.Description)
	case value == nil:
		return nil
	}
	return json.Unmarshal(evaluated.Result.Value, value)
}

func (tab *tab) eval(expression string, value any) {
	tab.Helper()
	if err := tab.try(expression, value); err != nil {
		tab.Fatalf("%s: %v", expression, err)
	}
}

// until waits for expression to be true. What it throws is not true yet: a
// page that is being loaded has no elements.
func (tab *tab) until(expression string) {
	tab.Helper()
	var err error
	for deadline := time.Now().Add(untilLimit); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		var done bool
		if err = tab.try("Boolean("+expression+")", &done); done {
			return
		}
	}
	var text string
	tab.try("document.body.innerText", &text)
	tab.Fatalf("not within %s: %s (%v); the page reads:\n%.1500s", untilLimit, expression, err, strings.Join(strings.Fields(text), " "))
}

// load opens url, and again where the answer is not the page but a failure.
func (tab *tab) load(url string) {
	tab.Helper()
	for range 50 {
		var loaded struct{ ErrorText string }
		must(tab.T, tab.browser.call(tab.session, "Page.navigate", params{"url": url}, &loaded))
		if loaded.ErrorText != "" {
			tab.Fatalf("%s: %s", url, loaded.ErrorText)
		}
		tab.until("document.readyState === 'complete'")
		var isPage bool
		tab.eval("document.contentType === 'text/html'", &isPage)
		if isPage {
			return
		}
	}
	tab.Fatalf("%s: no page", url)
}

// keys are what the browser must be told of each.
var keys = map[string]params{
	"Tab":        {"key": "Tab", "windowsVirtualKeyCode": 9},
	"Enter":      {"key": "Enter", "windowsVirtualKeyCode": 13, "text": "\r"},
	"Space":      {"key": " ", "windowsVirtualKeyCode": 32, "text": " "},
	"ArrowRight": {"key": "ArrowRight", "windowsVirtualKeyCode": 39},
}

// press presses and releases a key.
func (tab *tab) press(code string) {
	tab.Helper()
	key := maps.Clone(keys[code])
	key["code"] = code
	key["type"] = "keyDown"
	tab.do("Input.dispatchKeyEvent", key)
	delete(key, "text")
	key["type"] = "keyUp"
	tab.do("Input.dispatchKeyEvent", key)
}

// complaints are the tab's exceptions, errors and warnings so far. The
// browser's own about requests that failed count unless networkMayFail.
func (tab *tab) complaints(networkMayFail bool) []string {
	tab.browser.mu.Lock()
	events := slices.Clone(tab.browser.events[tab.session])
	tab.browser.mu.Unlock()
	var found []string
	for _, e := range events {
		var p struct {
			Type  string
			Entry struct{ Source, Level string }
		}
		json.Unmarshal(e.Params, &p)
		switch e.Method {
		case "Runtime.exceptionThrown":
		case "Runtime.consoleAPICalled":
			if p.Type != "error" && p.Type != "warning" && p.Type != "assert" {
				continue
			}
		case "Log.entryAdded":
			if networkMayFail && p.Entry.Source == "network" || p.Entry.Level == "verbose" || p.Entry.Level == "info" {
				continue
			}
		default:
			continue
		}
		found = append(found, e.Method+" "+string(e.Params))
	}
	return found
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
