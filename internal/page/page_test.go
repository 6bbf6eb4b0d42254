package page_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/knative-sample/rest-api-go/internal/page"
	"github.com/knative-sample/rest-api-go/internal/quote"
	"github.com/knative-sample/rest-api-go/internal/rehearsal"
	"github.com/knative-sample/rest-api-go/internal/stock"
)

func TestHeaders(t *testing.T) {
	w := httptest.NewRecorder()
	w.Header().Set("X-Revision", "the caller's")
	page.Serve(w)
	body := w.Body.String()
	for name, want := range map[string]string{
		"X-Revision":      "the caller's",
		"Content-Type":    "text/html; charset=utf-8",
		"Content-Length":  strconv.Itoa(len(body)),
		"Cache-Control":   "no-store",
		"Referrer-Policy": "no-referrer",
		// A browser hashes what is between the tags.
		"Content-Security-Policy": "default-src 'none'; script-src " + hashOf(body, "script") +
			"; style-src " + hashOf(body, "style") +
			"; connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
	} {
		if got := w.Header().Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}

func hashOf(body, tag string) string {
	_, rest, _ := strings.Cut(body, "<"+tag+">")
	text, _, _ := strings.Cut(rest, "</"+tag+">")
	sum := sha256.Sum256([]byte(text))
	return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
}

//go:embed browser_test.js
var script string

const driver = `<!doctype html><iframe></iframe><pre></pre><script src="driver.js"></script>`

// TestBrowser runs each group of scenarios of browser_test.js in a browser. Its
// clock waits for answers and for nothing else: minutes pass in seconds.
func TestBrowser(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a browser")
	}
	chromium, err := exec.LookPath("chromium")
	if err != nil {
		t.Skip("needs chromium on PATH: ", err)
	}
	for group, host := range map[string]string{
		"rehearsals": "localhost", "others": "localhost", "preview": "latest.localhost",
	} {
		t.Run(group, func(t *testing.T) {
			t.Parallel()
			server := httptest.NewServer(newSite())
			defer server.Close()
			url := strings.Replace(server.URL, "127.0.0.1", host, 1) + "/driver#" + group
			verdict, complaints := visit(t, chromium, url)
			if verdict != "ok" || len(complaints) != 1 || !strings.Contains(complaints[0], "the last complaint") {
				t.Errorf("%s\n%s", verdict, strings.Join(complaints, ""))
			}
		})
	}
}

// visit returns what the scenarios have found, and what the browser's console has,
// but for answers that have failed.
func visit(t *testing.T, chromium, url string) (verdict string, complaints []string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, chromium, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic",
		"--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync",
		"--disable-dev-shm-usage", "--user-data-dir="+t.TempDir(), "--enable-logging=stderr", "--hide-scrollbars",
		"--force-prefers-reduced-motion", "--virtual-time-budget=3600000", "--dump-dom", url)
	cmd.WaitDelay = 10 * time.Second // for its helpers
	var document, log bytes.Buffer
	cmd.Stdout, cmd.Stderr = &document, &log
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v\n%s", err, &log)
	}
	for line := range strings.Lines(log.String()) {
		if strings.Contains(line, ":CONSOLE") && !strings.Contains(line, "Failed to load resource") {
			complaints = append(complaints, line)
		}
	}
	_, verdict, _ = strings.Cut(document.String(), "<pre>")
	verdict, _, _ = strings.Cut(verdict, "</pre>")
	return verdict, complaints
}

// newServices are what a scenario can switch to.
func newServices() map[string]http.Handler {
	var answers, drawn atomic.Int64
	answer := func(write func(w http.ResponseWriter, i int64)) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { write(w, answers.Add(1)) })
	}
	rehearse := func(split rehearsal.Split, v3 stock.Fault) http.Handler {
		return rehearsal.New(split, func(tag string) http.Handler {
			revision := stock.Revision{Resource: tag, Name: rehearsal.RevisionName(tag)}
			if tag == "v3" {
				revision.Fault = v3
			}
			return stock.New(revision, quote.Sample{})
		}, func(n int) int { return int(drawn.Add(37)) % n }) // each of 100 once: nothing is left to chance
	}
	return map[string]http.Handler{
		"rehearsal": rehearse(rehearsal.Split{{Tag: "v1", Percent: 100}}, stock.Fault{}),
		"bad v3":    rehearse(rehearsal.Split{{Tag: "v2", Percent: 60}, {Tag: "v3", Percent: 40}}, stock.Fault{Rate: .3}),
		"plain":     stock.New(stock.Revision{Resource: "v1", Name: "v1"}, quote.Sample{}),
		"gone":      answer(func(http.ResponseWriter, int64) { panic(http.ErrAbortHandler) }),
		"404":       http.NotFoundHandler(),
		"v1 of one pod": answer(func(w http.ResponseWriter, _ int64) {
			w.Header().Set("X-Revision", "v1")
			w.Header().Set("X-Pod", "v1-pod")
		}),
		"v2 of three pods": answer(func(w http.ResponseWriter, i int64) {
			w.Header().Set("X-Revision", "v2")
			w.Header().Set("X-Pod", fmt.Sprint("v2-pod-", i%3))
		}),
		"many names": answer(func(w http.ResponseWriter, i int64) {
			switch i % 4 {
			case 0:
				fmt.Fprint(w, "Welcome to the v1 app! \n")
			case 1:
				w.WriteHeader(int(500 + i%100))
			default:
				w.Header().Set("X-Revision", fmt.Sprint("r-", 1010-i))
			}
		}),
	}
}

// newSite serves the driver, and the service that the scenario has switched to.
func newSite() http.Handler {
	var services, current atomic.Value
	services.Store(newServices())
	current.Store("404")
	mux := http.NewServeMux()
	mux.HandleFunc("/driver", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, driver) })
	mux.HandleFunc("/driver.js", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, script) })
	mux.HandleFunc("/new", func(http.ResponseWriter, *http.Request) { services.Store(newServices()) })
	mux.HandleFunc("/to/{name}", func(_ http.ResponseWriter, r *http.Request) { current.Store(r.PathValue("name")) })
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		if !strings.Contains(r.Header.Get("Accept"), "text/html") {
			services.Load().(map[string]http.Handler)[current.Load().(string)].ServeHTTP(w, r)
			return
		}
		recorder := httptest.NewRecorder()
		page.Serve(recorder)
		maps.Copy(w.Header(), recorder.Header())
		policy := recorder.Header().Get("Content-Security-Policy")
		w.Header().Set("Content-Security-Policy", strings.Replace(policy, "ancestors 'none'", "ancestors 'self'", 1))
		w.Write(recorder.Body.Bytes())
	})
	return mux
}
