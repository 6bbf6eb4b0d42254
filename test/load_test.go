//go:build e2e

package test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// load is a steady flow of requests through the gateway.
type load struct {
	end      context.CancelFunc
	clients  sync.WaitGroup
	requests atomic.Int64
	mu       sync.Mutex
	failures []string
	seen     map[string]int
	bad      string // the revision whose failures are expected
	expected int
}

// expect counts the failures of a revision apart from now on, and returns how
// many there were of the one before.
func (l *load) expect(bad string) (failed int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	failed, l.bad, l.expected = l.expected, bad, 0
	return failed
}

// startLoad starts four clients, each of about 20 requests per second.
func (w *walk) startLoad(t *testing.T) *load {
	first, _, _ := strings.Cut(w.bash(t, 0, "./run-test.sh 2"), "\n")
	var n int
	var host, gateway string
	if _, err := fmt.Sscanf(first, "%d requests to http://%s through %s", &n, &host, &gateway); err != nil {
		t.Fatalf("%q: %v", first, err)
	}
	host = strings.TrimSuffix(host, "/")
	ctx, end := context.WithCancel(context.Background())
	l := &load{end: end, seen: map[string]int{}}
	t.Cleanup(l.end)
	for i := range 4 {
		path := []string{"/", "/stock/AAPL"}[i%2]
		l.clients.Go(func() {
			for {
				select {
				case <-ctx.Done():
					return
				case <-time.After(50 * time.Millisecond):
					l.request(host, gateway, path)
				}
			}
		})
	}
	return l
}

func (l *load) request(host, gateway, path string) {
	l.requests.Add(1)
	revision, err := ask(host, gateway, path)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.bad != "" && err != nil && strings.Contains(err.Error(), l.bad) {
		l.expected++
		return
	}
	if err != nil {
		l.failures = append(l.failures, fmt.Sprintf("%s GET %s: %v", time.Now().Format(time.TimeOnly), path, err))
		return
	}
	l.seen[revision]++
}

// noReuse opens a connection for each request: a client with a connection at
// hand would quietly ask again on another, were it to break.
var noReuse = &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}

// ask returns the revision that answered, and checks its answer.
func ask(host, gateway, path string) (string, error) {
	req, err := http.NewRequest("GET", "http://"+gateway+path, nil)
	if err != nil {
		return "", err
	}
	req.Host = host
	resp, err := noReuse.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return "", err
	}
	revision := resp.Header.Get("X-Revision")
	label := strings.TrimPrefix(revision, "stock-service-example-")
	want := map[string]string{
		"/":           "Welcome to the " + label + " app! \n",
		"/stock/AAPL": label + " price for ticker AAPL is 201.36\n",
	}[path]
	if resp.StatusCode != 200 || string(body) != want {
		return "", fmt.Errorf("%s from %q: %q", resp.Status, revision, body)
	}
	return revision, nil
}

func (l *load) stop(t *testing.T) {
	l.end()
	l.clients.Wait()
	t.Logf("steady load: %d of %d requests failed; answers by revision: %v", len(l.failures), l.requests.Load(), l.seen)
	for _, f := range l.failures {
		t.Error(f)
	}
	if len(l.seen) < 3 {
		t.Errorf("answers of %d revisions, want at least v1, v2 and v3's", len(l.seen))
	}
}
