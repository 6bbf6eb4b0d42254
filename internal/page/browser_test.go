package page_test

import (
	"bytes"
	_ "embed"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/knative-sample/rest-api-go/internal/page"
	"github.com/knative-sample/rest-api-go/internal/quote"
	"github.com/knative-sample/rest-api-go/internal/rehearsal"
	"github.com/knative-sample/rest-api-go/internal/stock"
)

//go:embed browser_test.js
var script string

const driver = `<!doctype html><iframe style="border: 0"></iframe><pre>not finished</pre><script src="/driver.js"></script>`

// TestBrowser runs each scenario of browser_test.js in a browser of its own. The browser's clock waits for answers, and
// for nothing else: minutes pass in seconds, and a timer that is due is never late.
func TestBrowser(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a browser")
	}
	chromium, err := exec.LookPath("chromium")
	if err != nil {
		t.Skip("needs chromium on PATH: ", err)
	}
	for _, found := range regexp.MustCompile(`(?m)^scenario\('([^']+)'`).FindAllStringSubmatch(script, -1) {
		name := found[1]
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := httptest.NewServer(newSite())
			defer server.Close()
			host := "localhost"
			if name == "preview" {
				host = "latest.localhost"
			}
			url := strings.Replace(server.URL, "127.0.0.1", host, 1) + "/driver#" + strings.ReplaceAll(name, " ", "_")
			verdict, complaints := visit(t, chromium, url)
			if name == "complaints are heard" {
				for _, want := range []string{"an error", "thrown", "inline style", "elsewhere.invalid"} {
					if !strings.Contains(strings.Join(complaints, ""), want) {
						t.Errorf("heard %q, want %s, too", complaints, want)
					}
				}
				complaints = nil
			}
			if verdict != "ok" || len(complaints) > 0 {
				t.Errorf("%s\n%s", verdict, strings.Join(complaints, "\n"))
			}
		})
	}
}

// visit returns what the scenario has found, and the errors and warnings of the browser's console. Those about answers
// that have failed are not the page's.
func visit(t *testing.T, chromium, url string) (verdict string, complaints []string) {
	t.Helper()
	cmd := exec.Command(chromium, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
		"--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage",
		"--user-data-dir="+t.TempDir(), "--enable-logging=stderr", "--hide-scrollbars", "--window-size=500,400",
		"--virtual-time-budget=3600000", "--dump-dom", url)
	var dom, log bytes.Buffer
	cmd.Stdout, cmd.Stderr = &dom, &log
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v\n%s", err, &log)
	}
	for line := range strings.Lines(log.String()) {
		if strings.Contains(line, ":CONSOLE") && !strings.Contains(line, "Failed to load resource") {
			complaints = append(complaints, line)
		}
	}
	if found := regexp.MustCompile(`(?s)<pre>(.*?)</pre>`).FindStringSubmatch(dom.String()); found != nil {
		return found[1], complaints
	}
	return "no verdict", complaints
}

// newSite serves the driver, and at the other paths the service that the scenario has switched to last.
func newSite() http.Handler {
	var answers atomic.Int64 // of the services below
	answer := func(write func(w http.ResponseWriter, i int)) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { write(w, int(answers.Add(1))) })
	}
	services := map[string]http.Handler{
		"rehearsal": rehearse("v1=100", stock.Fault{}),
		"bad v3":    rehearse("v1=40,v2=30,v3=30", stock.Fault{Rate: .3}),
		"plain":     stock.New(stock.Revision{Resource: "v1", Name: "v1"}, quote.Sample{}),
		"gone":      answer(func(http.ResponseWriter, int) { panic(http.ErrAbortHandler) }),
		"404":       answer(func(w http.ResponseWriter, _ int) { http.Error(w, "", http.StatusNotFound) }),
		"v1 of one pod": answer(func(w http.ResponseWriter, _ int) {
			w.Header().Set("X-Revision", "v1")
			w.Header().Set("X-Pod", "v1-pod")
		}),
		"v2 of three pods": answer(func(w http.ResponseWriter, i int) {
			w.Header().Set("X-Revision", "v2")
			w.Header().Set("X-Pod", fmt.Sprint("v2-pod-", i%3))
		}),
		// No two answers are from one revision or fail alike, but for one in four that sends no X-Revision.
		"many names": answer(func(w http.ResponseWriter, i int) {
			switch i % 4 {
			case 0:
				fmt.Fprint(w, "Welcome to the v1 app! \n")
			case 1:
				http.Error(w, "", 500+i%100)
			default:
				w.Header().Set("X-Revision", fmt.Sprint("r-", 1010-i))
			}
		}),
	}
	var service atomic.Value
	service.Store("rehearsal")
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		isPage := strings.Contains(r.Header.Get("Accept"), "text/html")
		switch name, isSwitch := strings.CutPrefix(r.URL.Path, "/switch/"); {
		case isSwitch:
			service.Store(name)
		case r.URL.Path == "/driver":
			fmt.Fprint(w, driver)
		case r.URL.Path == "/driver.js":
			fmt.Fprint(w, script)
		case isPage:
			framed := httptest.NewRecorder()
			page.Serve(framed)
			maps.Copy(w.Header(), framed.Header())
			policy := w.Header().Get("Content-Security-Policy")
			w.Header().Set("Content-Security-Policy", strings.Replace(policy, "frame-ancestors 'none'", "frame-ancestors 'self'", 1))
			w.Write(framed.Body.Bytes())
		default:
			services[service.Load().(string)].ServeHTTP(w, r)
		}
	})
}

// rehearse draws each number below 100 once in 100 requests, so that shares are not left to chance.
func rehearse(split string, fault stock.Fault) http.Handler {
	targets, err := rehearsal.ParseSplit(split)
	if err != nil {
		panic(err)
	}
	var drawn atomic.Int64
	return rehearsal.New(targets, func(tag string) http.Handler {
		revision := stock.Revision{Resource: tag, Name: rehearsal.RevisionName(tag)}
		if tag == "v3" {
			revision.Fault = fault
		}
		return stock.New(revision, quote.Sample{})
	}, func(n int) int { return int(drawn.Add(37)) % n })
}
