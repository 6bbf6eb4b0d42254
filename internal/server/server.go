// Package server serves HTTP until it is told to stop. It bounds how long a
// client can hold a connection, and lets the requests in flight finish.
package server

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"time"
)

const (
	// readTimeout bounds how long a request may take to arrive, body included.
	readTimeout = 10 * time.Second
	// writeTimeout bounds how long a client may take to receive an answer.
	writeTimeout = time.Minute
	drainTimeout = 10 * time.Second
	// idleTimeout is longer than proxies keep an idle connection (90 s in
	// Knative's queue-proxy), so that none of them sends a request on a
	// connection that is being closed.
	idleTimeout = 2 * time.Minute
)

// Serve answers requests until ctx ends. Then it accepts no more of them, and
// gives those in flight 10 s to finish. The latency is how long the handler
// waits on purpose before it answers, which the client's time does not include.
func Serve(ctx context.Context, listener net.Listener, handler http.Handler, latency time.Duration, logger *slog.Logger) error {
	server := newServer(handler, latency, logger)
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
		logger.Warn("cut off the requests that were still in flight", "err", err)
		server.Close()
	}
	logger.Info("stopped")
	return nil
}

func newServer(handler http.Handler, latency time.Duration, logger *slog.Logger) *http.Server {
	return &http.Server{
		Handler:     handler,
		ReadTimeout: readTimeout,
		// net/http counts it from the end of the request's headers
		WriteTimeout:                 latency + writeTimeout,
		IdleTimeout:                  idleTimeout,
		MaxHeaderBytes:               64 << 10,
		DisableGeneralOptionsHandler: true, // OPTIONS * is answered like any other method
		ErrorLog:                     slog.NewLogLogger(logger.Handler(), slog.LevelWarn),
	}
}
