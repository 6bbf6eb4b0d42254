//go:build e2e

package test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"
)

// load is a steady flow of requests through the gateway.
type load struct {
	end      context.CancelFunc
	clients  sync.WaitGroup
	mu       sync.Mutex
	requests int
	failures []string
}

// startLoad starts four clients, each of about 20 requests per second, while all
// traffic is v1's.
func (w *walk) startLoad(t *testing.T) *load {
	found := regexp.MustCompile(`requests to http://(.+)/ through (.+)`).FindStringSubmatch(w.bash(t, 0, "./run-test.sh --enough 2"))
	if found == nil {
		t.Fatal("it does not say what it asks")
	}
	host, gateway := found[1], found[2]
	ctx, end := context.WithCancel(context.Background())
	l := &load{end: end}
	t.Cleanup(l.end)
	for _, path := range []string{"/", "/stock/AAPL", "/", "/stock/AAPL"} {
		l.clients.Go(func() {
			for ctx.Err() == nil {
				time.Sleep(50 * time.Millisecond)
				l.request(host, gateway, path)
			}
		})
	}
	return l
}

func (l *load) request(host, gateway, path string) {
	err := ask(host, gateway, path)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.requests++
	if err != nil {
		l.failures = append(l.failures, fmt.Sprintf("%s GET %s: %v", time.Now().Format(time.TimeOnly), path, err))
	}
}

// noReuse opens a connection for each request: a client with a connection at
// hand would quietly ask again on another, were it to break.
var noReuse = &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}

// ask asks once, and checks that the answer is whole and its revision's own.
func ask(host, gateway, path string) error {
	req, err := http.NewRequest("GET", "http://"+gateway+path, nil)
	if err != nil {
		return err
	}
	req.Host = host
	resp, err := noReuse.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	revision := resp.Header.Get("X-Revision")
	label := strings.TrimPrefix(revision, "stock-service-example-")
	want := map[string]string{
		"/":           "Welcome to the " + label + " app! \n",
		"/stock/AAPL": label + " price for ticker AAPL is 201.36\n",
	}[path]
	if resp.StatusCode != 200 || string(body) != want {
		return fmt.Errorf("%s from %q: %q", resp.Status, revision, body)
	}
	return nil
}

// stop ends the load, of which nothing may have failed but by a bad revision.
func (l *load) stop(t *testing.T, bad ...string) {
	l.end()
	l.clients.Wait()
	t.Logf("steady load: %d of %d requests failed", len(l.failures), l.requests)
	for _, failure := range l.failures {
		if len(bad) == 0 || !strings.Contains(failure, bad[0]) {
			t.Error(failure)
		}
	}
}
