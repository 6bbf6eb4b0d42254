package quote

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

func badGateway(reason string) error {
	return &UpstreamError{Status: http.StatusBadGateway, Reason: reason}
}

// progress is how far a fetch came. An error of net/http can repeat what the
// provider sent, and that the request, with the key. So the words for it are
// chosen by how far the fetch came and by the error's type.
type progress struct{ atomic.Int32 }

const (
	connecting = iota
	asked
	answered
)

func (p *progress) trace() *httptrace.ClientTrace {
	return &httptrace.ClientTrace{
		GotConn:              func(httptrace.GotConnInfo) { p.Store(asked) },
		GotFirstResponseByte: func() { p.Store(answered) },
	}
}

// late says what was not done within limit.
func (p *progress) late(limit time.Duration) error {
	reason := fmt.Sprintf("the quote provider took longer than %v to answer", limit)
	if p.Load() == connecting {
		reason = fmt.Sprintf("there was no connection to the quote provider within %v", limit)
	}
	return &UpstreamError{Status: http.StatusGatewayTimeout, Reason: reason}
}

// failure says what err, of a RoundTripper, means.
func (p *progress) failure(err error) error {
	switch p.Load() {
	case connecting:
		return unconnected(err)
	case asked:
		return badGateway("the connection to the quote provider ended without an answer")
	}
	switch {
	case strings.Contains(err.Error(), "server response headers exceeded"): // it has no type
		return badGateway("the quote provider's headers are larger than 1 MiB")
	case broken(err):
		return badGateway("the quote provider broke off its answer")
	}
	return badGateway("the quote provider's answer is not valid HTTP")
}

// unconnected says why there is no connection to the provider.
func unconnected(err error) error {
	who := "the quote provider"
	var network *net.OpError
	if errors.As(err, &network) && network.Op == "proxyconnect" {
		who, err = "the proxy to the quote provider", network.Err
	}
	var (
		refusal     *UpstreamError // of checkProxy
		plain       tls.RecordHeaderError
		authority   x509.UnknownAuthorityError
		certificate *tls.CertificateVerificationError
	)
	switch {
	case errors.As(err, &refusal):
		return refusal
	case errors.As(err, &plain):
		return badGateway(who + " does not speak TLS at this port")
	case errors.As(err, &authority):
		return badGateway(who + " has a certificate of an unknown authority")
	case errors.As(err, &certificate):
		return badGateway(who + " has a certificate that is not valid for this host now")
	case errors.As(err, &network) && network.Op == "dial":
		return fmt.Errorf("%w: %w", badGateway(who+" cannot be reached"), network)
	case errors.As(err, &network) && network.Op == "remote error": // an alert, from a fixed list
		return fmt.Errorf("%w: %w", badGateway(who+" refused TLS"), network.Err)
	}
	return badGateway("the connection to the quote provider failed before it could be asked")
}

// checkProxy is an http.Transport's OnProxyConnectResponse.
func checkProxy(_ context.Context, _ *url.URL, _ *http.Request, resp *http.Response) error {
	if resp.StatusCode == http.StatusOK {
		return nil
	}
	return badGateway(fmt.Sprintf("the proxy to the quote provider answered with status %d", resp.StatusCode))
}

// broken tells whether the other side closed or reset the connection.
func broken(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET)
}
