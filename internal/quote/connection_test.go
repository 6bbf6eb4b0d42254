package quote

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"
)

// accept serves each connection to a port of its own, and returns its address.
func accept(t *testing.T, serve func(net.Conn)) string {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				serve(conn)
			}()
		}
	}()
	return listener.Addr().String()
}

// closedPort is the address of a port that was just closed.
func closedPort(t *testing.T) string {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	listener.Close()
	return listener.Addr().String()
}

// noSuchHost is the resolver of a name server that knows no name.
func noSuchHost(t *testing.T) *net.Resolver {
	server, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Close() })
	go func() {
		message := make([]byte, 512)
		for {
			n, from, err := server.ReadFrom(message)
			if err != nil {
				return
			}
			message[2], message[3] = 0x84, 3 // an answer with authority: NXDOMAIN
			message[10], message[11] = 0, 0  // without the question's additional record
			server.WriteTo(message[:n], from)
		}
	}()
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "udp", server.LocalAddr().String())
	}}
}

// Clients are told that there is no connection, and the log why.
func TestNoConnection(t *testing.T) {
	const key = "s3cret"
	secure := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		t.Error("a provider without a trusted certificate was asked")
	}))
	secure.Config.ErrorLog = log.New(io.Discard, "", 0)
	secure.StartTLS()
	defer secure.Close()
	secureAddress := secure.Listener.Addr().String()
	dead := closedPort(t)

	proxied := func(address string) func(*http.Transport) {
		return func(transport *http.Transport) {
			transport.Proxy = http.ProxyURL(&url.URL{Scheme: "http", User: url.UserPassword("user", key), Host: address})
		}
	}
	// a proxy that answers every CONNECT so
	proxy := func(answer string) func(*http.Transport) {
		return proxied(accept(t, func(conn net.Conn) {
			req, err := http.ReadRequest(bufio.NewReader(conn))
			if err != nil || req.Method != "CONNECT" || req.Host != "prices.example:443" {
				t.Errorf("the proxy was asked for %+v, %v", req, err)
			}
			io.WriteString(conn, strings.ReplaceAll(answer, "KEY", key))
		}))
	}

	for _, test := range []struct {
		name, address string
		scheme        string // https unless it says otherwise
		setUp         func(*http.Transport)
		status        int // 502 unless it says otherwise
		reason, cause string
	}{
		{name: "refused", scheme: "http", address: dead, reason: noConnection, cause: "dial tcp " + dead + ": connect: connection refused"},
		{name: "no such host", address: "prices.example",
			setUp:  func(tr *http.Transport) { tr.DialContext = (&net.Dialer{Resolver: noSuchHost(t)}).DialContext },
			reason: noConnection, cause: "dial tcp: lookup prices.example"},
		{name: "stalled before the connection", address: "prices.example", status: 504,
			setUp: func(tr *http.Transport) {
				tr.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) { <-ctx.Done(); return nil, ctx.Err() }
			},
			reason: late, cause: "context deadline exceeded"},
		{name: "stalled in TLS", status: 504,
			address: accept(t, func(conn net.Conn) { io.Copy(io.Discard, conn) }),
			reason:  late, cause: "context deadline exceeded"},

		{name: "a certificate of nobody", address: secureAddress, reason: noAnswer, cause: "certificate signed by unknown authority"},
		{name: "another's certificate", address: secureAddress,
			setUp: func(tr *http.Transport) {
				tr.TLSClientConfig = secure.Client().Transport.(*http.Transport).TLSClientConfig.Clone()
				tr.TLSClientConfig.ServerName = "prices.example"
			},
			reason: noAnswer, cause: "certificate is valid for"},
		{name: "an expired certificate", address: secureAddress,
			setUp: func(tr *http.Transport) {
				tr.TLSClientConfig = secure.Client().Transport.(*http.Transport).TLSClientConfig.Clone()
				tr.TLSClientConfig.Time = func() time.Time { return time.Now().AddDate(100, 0, 0) }
			},
			reason: noAnswer, cause: "certificate has expired"},
		{name: "TLS of no common version", address: secureAddress,
			setUp: func(tr *http.Transport) {
				tr.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}
			},
			reason: noAnswer, cause: "tls: protocol version not supported"},

		{name: "an error of Proxy", address: "prices.example",
			setUp: func(tr *http.Transport) {
				tr.Proxy = func(*http.Request) (*url.URL, error) { return nil, errors.New("refusing to use " + key) }
			},
			reason: noAnswer, cause: "refusing to use {key}"},
		{name: "proxy refused", address: "prices.example", setUp: proxied(dead), reason: noConnection, cause: "proxyconnect tcp: dial tcp " + dead},
		{name: "proxy answers 403", address: "prices.example", setUp: proxy("HTTP/1.1 403 KEY\r\n\r\nKEY"),
			reason: noAnswer, cause: "{key}"},
		{name: "proxy answers 204", address: "prices.example", setUp: proxy("HTTP/1.1 204 KEY\r\n\r\n"),
			reason: noAnswer, cause: "{key}"},
		{name: "proxy answers no HTTP", address: "prices.example", setUp: proxy("KEY\r\n\r\n"), reason: noAnswer, cause: "malformed HTTP"},
		{name: "proxy closes", address: "prices.example", setUp: proxy(""), reason: noAnswer, cause: "EOF"},
		{name: "no TLS behind the proxy", address: "prices.example", setUp: proxy("HTTP/1.1 200 OK\r\n\r\nHTTP/1.1 400 KEY\r\n\r\n"),
			reason: noAnswer},
		{name: "a proxy with a certificate of nobody", address: "prices.example",
			setUp: func(tr *http.Transport) {
				tr.Proxy = http.ProxyURL(&url.URL{Scheme: "https", Host: secureAddress})
			},
			reason: noConnection, cause: "certificate signed by unknown authority"},
	} {
		t.Run(test.name, func(t *testing.T) {
			status := cmp.Or(test.status, 502)
			template, err := ParseTemplate(cmp.Or(test.scheme, "https") + "://" + test.address + "/{ticker}?key={key}")
			if err != nil {
				t.Fatal(err)
			}
			var lines bytes.Buffer
			upstream := NewUpstream(template.WithKey(key), nil, 0, slog.New(slog.NewTextHandler(&lines, nil)))
			if status == 504 {
				upstream.timeout = limit
			}
			if test.setUp != nil {
				test.setUp(upstream.transport.(*http.Transport))
			}
			_, err = upstream.Quote("AAPL")
			var failure *UpstreamError
			if !errors.As(err, &failure) || *failure != (UpstreamError{Status: status, Reason: test.reason}) {
				t.Errorf("%v, want %s", err, test.reason)
			}
			line := lines.String()
			if strings.Count(line, "\n") != 1 || !strings.Contains(line, "ticker=AAPL") || !strings.Contains(line, test.reason+": ") || !strings.Contains(line, test.cause) {
				t.Errorf("%s, want %s: %s", line, test.reason, test.cause)
			}
			if strings.Contains(line, key) {
				t.Errorf("the key is in %s", line)
			}
		})
	}
}
