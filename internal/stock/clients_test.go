package stock

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/knative-sample/rest-api-go/internal/quote"
)

// A request's target need not be a path.
func TestTargets(t *testing.T) {
	server := httptest.NewServer(New(v1, quote.Sample{}))
	defer server.Close()

	for target, want := range map[string]string{
		"http://example.com":             "200 Welcome to the v1 app! \n",
		"http://example.com?x":           "200 Welcome to the v1 app! \n",
		"http://example.com//stock/AAPL": "200 v1 price for ticker AAPL is 201.36\n",
		"//example.com/stock/AAPL":       "404 v1 no such path, require /, /v1/{ticker} or /stock/{ticker}\n",
		"*":                              "404 v1 no such path, require /, /v1/{ticker} or /stock/{ticker}\n",
	} {
		answer := raw(t, server, "GET "+target+" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
		if answer != want {
			t.Errorf("%s: %q, want %q", target, answer, want)
		}
	}
}

// A client that has closed its half of the connection, as nc -N does, looks
// like one that has left, and still reads.
func TestHalfClosedClientIsAnswered(t *testing.T) {
	slow, failing := v1, v1
	slow.Fault.Latency = time.Hour
	failing.Fault = Fault{Latency: time.Hour, Rate: 1}
	for _, test := range []struct {
		name, path string
		handler    http.Handler
		want       string
	}{
		{"during the wait", "/", New(slow, quote.Sample{}), "200 Welcome to the v1 app! \n"},
		{"before a failure", "/", New(failing, quote.Sample{}), "500 v1 failed on purpose (ERROR_RATE)\n"},
		{"during the fetch", "/v1/AAPL", New(v1, source(func(string) (quote.Quote, error) {
			time.Sleep(200 * time.Millisecond)
			return quote.Quote{Price: "7", Origin: "upstream"}, nil
		})), "200 v1 price for ticker AAPL is 7\n"},
	} {
		t.Run(test.name, func(t *testing.T) {
			server := httptest.NewServer(test.handler)
			defer server.Close()
			for _, request := range []string{
				"GET " + test.path + " HTTP/1.0\r\n\r\n",
				"GET " + test.path + " HTTP/1.1\r\nHost: x\r\n\r\n",
			} {
				if answer := raw(t, server, request); answer != test.want {
					t.Errorf("%q: %q, want %q", request, answer, test.want)
				}
			}
		})
	}
}

// A client that leaves during the fetch that it started does not end it for the
// others.
func TestClientThatLeavesCancelsNothing(t *testing.T) {
	asked, left := make(chan struct{}, 9), make(chan struct{})
	provider := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked <- struct{}{}
		<-left
		io.WriteString(w, "7")
	}))
	defer provider.Close()
	template, err := quote.ParseTemplate(provider.URL + "/{ticker}")
	if err != nil {
		t.Fatal(err)
	}
	handler := New(v1, quote.NewUpstream(template, nil, time.Hour, slog.New(slog.DiscardHandler)))
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.RawQuery == "leaves" {
			context.AfterFunc(r.Context(), func() { close(left) })
		}
		handler.ServeHTTP(w, r)
	}))
	defer server.Close()

	ctx, leave := context.WithCancel(t.Context())
	req, err := http.NewRequestWithContext(ctx, "GET", server.URL+"/v1/AAPL?leaves", nil)
	if err != nil {
		t.Fatal(err)
	}
	first := make(chan error)
	go func() {
		_, err := http.DefaultTransport.RoundTrip(req)
		first <- err
	}()
	<-asked
	leave()
	if err := <-first; !errors.Is(err, context.Canceled) {
		t.Errorf("the one that leaves: %v", err)
	}
	if _, body := ask(t, "GET", server.URL+"/v1/AAPL", ""); body != "v1 price for ticker AAPL is 7\n" {
		t.Errorf("one that stays: %q", body)
	}
	if n := len(asked); n > 0 {
		t.Errorf("the provider was asked %d times more", n)
	}
}

// raw sends request, closes its half of the connection, and returns the answer
// as "status body".
func raw(t *testing.T, server *httptest.Server, request string) string {
	t.Helper()
	conn, err := net.Dial("tcp", server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	io.WriteString(conn, request)
	conn.(*net.TCPConn).CloseWrite()
	conn.SetReadDeadline(time.Now().Add(10 * time.Second))
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return err.Error()
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return err.Error()
	}
	return fmt.Sprintf("%d %s", resp.StatusCode, body)
}
