// Package server serves HTTP until it is told to stop. It bounds how long a
// client can hold a connection, and lets what is in flight finish.
package server

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"time"
)

const (
	// readTimeout is a request's, from its first byte, or its connection's
	// first moment, to the end of its body.
	readTimeout = 10 * time.Second
	// writeTimeout is that of each part of an answer that a client is to take.
	// It begins when the answer does, unlike http.Server's, which would end one
	// that waits longer. It is shorter than drainTimeout, so that clients that
	// read nothing do not hold that up.
	writeTimeout = 5 * time.Second
	drainTimeout = 10 * time.Second
	// idleTimeout is longer than proxies keep an idle connection (90 s in
	// Knative's queue-proxy), so that none sends a request into one that is
	// closing.
	idleTimeout = 2 * time.Minute
)

// Listen takes TCP connections at an address such as :8080.
func Listen(address string) (net.Listener, error) {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return nil, err
	}
	return listener{l.(*net.TCPListener), writeTimeout}, nil
}

// listener gives each write to its connections a limit.
type listener struct {
	*net.TCPListener
	writeTimeout time.Duration
}

func (l listener) Accept() (net.Conn, error) {
	c, err := l.AcceptTCP()
	if err != nil {
		return nil, err
	}
	return &conn{TCPConn: c, writeTimeout: l.writeTimeout}, nil
}

// conn moves its write deadline now and then: to do so for each small answer
// would take longer than the answer's own handler.
type conn struct {
	*net.TCPConn
	writeTimeout time.Duration
	renewal      time.Time // when the deadline is to be moved
}

// Write has the limit, and at most a tenth more.
func (c *conn) Write(b []byte) (int, error) {
	if now := time.Now(); !now.Before(c.renewal) {
		c.renewal = now.Add(c.writeTimeout / 10)
		c.TCPConn.SetWriteDeadline(c.renewal.Add(c.writeTimeout)) // fails as the write will
	}
	return c.TCPConn.Write(b)
}

// SetWriteDeadline does nothing: net/http clears the deadline after each
// request, and it is Write's alone.
func (c *conn) SetWriteDeadline(time.Time) error { return nil }

// Serve answers until ctx ends, then stops accepting and gives what is in
// flight 10 s to finish.
func Serve(ctx context.Context, listener net.Listener, handler http.Handler, logger *slog.Logger) error {
	server := newServer(handler, logger)
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(listener) }()
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
	}

	logger.Info("draining", "limit", drainTimeout)
	limit, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainTimeout)
	defer cancel()
	if err := server.Shutdown(limit); err != nil {
		logger.Warn("cut off what was still in flight", "err", err)
		server.Close()
	}
	logger.Info("stopped")
	return nil
}

func newServer(handler http.Handler, logger *slog.Logger) *http.Server {
	return &http.Server{
		Handler:                      handler,
		ReadTimeout:                  readTimeout,
		IdleTimeout:                  idleTimeout,
		MaxHeaderBytes:               64 << 10,
		DisableGeneralOptionsHandler: true, // OPTIONS * is a method like others
		ErrorLog:                     slog.NewLogLogger(logger.Handler(), slog.LevelWarn),
	}
}
