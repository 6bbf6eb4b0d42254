package main

import (
	"encoding/pem"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// TestKeyStaysOutOfTheLog has a provider that begins each connection with what
// it was asked for on the one before: net/http logs what comes before it has
// asked for anything, now and then.
func TestKeyStaysOutOfTheLog(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	var mu sync.Mutex
	target := "nothing"
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			io.WriteString(conn, target+"\r\n")
			mu.Unlock()
			go func() {
				defer conn.Close()
				request := make([]byte, 4096)
				n, _ := conn.Read(request)
				_, rest, _ := strings.Cut(string(request[:n]), " ")
				if path, _, ok := strings.Cut(rest, " "); ok {
					mu.Lock()
					target = path
					mu.Unlock()
				}
			}()
		}
	}()

	p := start(t, "RESOURCE=v1", "QUOTE_URL=http://"+listener.Addr().String()+"/{ticker}?key={key}", "QUOTE_KEY=s3cret", "QUOTE_TTL=0")
	for range 300 {
		if got := <-p.get("/v1/AAPL"); !strings.HasPrefix(got, "502 v1 ") {
			t.Fatalf("got %q", got)
		}
	}
	p.awaitLog(t, `msg="no quote" ticker=AAPL`)
	mu.Lock()
	defer mu.Unlock()
	if target != "/AAPL?key=s3cret" {
		t.Errorf("the provider was asked for %s", target)
	}
	for _, secret := range []string{"s3cret", "?key", "Unsolicited"} {
		if strings.Contains(p.log(), secret) {
			t.Errorf("%s is in the log:\n%.2000s", secret, p.log())
		}
	}
}

// TestProxyAndCertificates are those that net/http's own variables name.
func TestProxyAndCertificates(t *testing.T) {
	price := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, "201.36")
	})
	secure := httptest.NewTLSServer(price)
	defer secure.Close()
	file := filepath.Join(t.TempDir(), "ca.pem")
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: secure.Certificate().Raw})
	if err := os.WriteFile(file, ca, 0o600); err != nil {
		t.Fatal(err)
	}
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.Method == http.MethodConnect:
			w.WriteHeader(http.StatusForbidden)
		case r.URL.String() == "http://prices.example/AAPL":
			price(w, r)
		default:
			t.Errorf("the proxy was asked for %s", r.URL)
		}
	}))
	defer proxy.Close()

	const found = "200 v1 v1 price for ticker AAPL is 201.36\n"
	for _, test := range []struct {
		env  []string
		want string // the beginning
		end  string
	}{
		{[]string{"QUOTE_URL=" + secure.URL + "/{ticker}", "SSL_CERT_FILE=" + file}, found, ""},
		{[]string{"QUOTE_URL=" + secure.URL + "/{ticker}"}, "502 v1 ", "the quote provider has a certificate of an unknown authority\n"},
		{[]string{"QUOTE_URL=http://prices.example/{ticker}", "HTTP_PROXY=" + proxy.URL}, found, ""},
		{[]string{"QUOTE_URL=https://prices.example/{ticker}", "HTTPS_PROXY=" + proxy.URL}, "502 v1 ", "the proxy to the quote provider answered with status 403\n"},
	} {
		p := start(t, append(test.env, "RESOURCE=v1", "K_REVISION=v1")...)
		if got := <-p.get("/v1/AAPL"); !strings.HasPrefix(got, test.want) || !strings.HasSuffix(got, test.end) {
			t.Errorf("%s: %q, want %s…%s", test.env, got, test.want, test.end)
		}
	}
}

// Clients are told what is wrong, and the log where.
func TestProviderOutOfReach(t *testing.T) {
	gone := closedPort(t)
	p := start(t, "RESOURCE=v1", "QUOTE_URL=http://"+gone+"/{ticker}")
	if got, want := <-p.get("/stock/AAPL"), "502 v1 v1 price for ticker AAPL is not available: the quote provider cannot be reached\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	p.awaitLog(t, "the quote provider cannot be reached: dial tcp "+gone)
}
