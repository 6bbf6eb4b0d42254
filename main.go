// Rest-api-go is a stock-price REST API whose revisions Knative Serving splits
// traffic between: every answer says which revision gave it.
package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/knative-sample/rest-api-go/internal/config"
	"github.com/knative-sample/rest-api-go/internal/quote"
	"github.com/knative-sample/rest-api-go/internal/rehearsal"
	"github.com/knative-sample/rest-api-go/internal/stock"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // A second signal ends the process at once.

	err := run(ctx, os.Args[1:], os.Getenv, os.Stdout, os.Stderr)
	if err == nil {
		return
	}
	fmt.Fprintln(os.Stderr, "rest-api-go:", err)
	if errors.As(err, &usageError{}) {
		os.Exit(2)
	}
	os.Exit(1)
}

// usageError is a mistake in how the program was called or set up.
type usageError struct{ error }

// run serves until ctx ends, then drains. The arguments may only ask for help.
func run(ctx context.Context, args []string, getenv func(string) string, stdout, stderr io.Writer) error {
	if len(args) > 0 {
		if a := args[0]; a != "-h" && a != "-help" && a != "--help" {
			return usageError{fmt.Errorf("unexpected argument %q: rest-api-go takes no arguments; configure it with environment variables, see -h", a)}
		}
		config.Usage(stdout)
		return nil
	}
	cfg, err := config.Load(getenv)
	if err != nil {
		return usageError{err}
	}
	logger := slog.New(slog.NewTextHandler(stderr, nil))
	// The standard log is at a level that is not shown, as NewUpstream asks.
	slog.SetLogLoggerLevel(slog.LevelDebug)
	slog.SetDefault(logger)

	var quotes quote.Source = quote.Sample{}
	prices := "sample of " + quote.SampleDay
	if !cfg.QuoteURL.IsZero() {
		quotes = quote.NewUpstream(cfg.QuoteURL, cfg.QuotePointer, cfg.QuoteTTL, logger)
		prices = "upstream " + cfg.QuoteURL.Host
	}
	listener, err := net.Listen("tcp", fmt.Sprintf(":%d", cfg.Port))
	if err != nil {
		return fmt.Errorf("PORT: %w", err)
	}
	logger.Info("serving",
		"url", fmt.Sprintf("http://localhost:%d", listener.Addr().(*net.TCPAddr).Port),
		"revision", cmp.Or(cfg.Split.String(), cfg.Revision.Name),
		"prices", prices)
	return serve(ctx, listener, newHandler(cfg, quotes), logger)
}

// newHandler returns the one revision that this process is, or a rehearsal of
// several, of which the newest is the bad one.
func newHandler(cfg config.Config, quotes quote.Source) http.Handler {
	if len(cfg.Split) == 0 {
		return stock.New(cfg.Revision, quotes)
	}
	first, last := cfg.Split[0].Tag, cfg.Split[len(cfg.Split)-1].Tag
	isBad := func(tag string) bool { return tag == last }
	if len(cfg.Split) == 1 { // All that are made later are bad.
		isBad = func(tag string) bool { return tag != first }
	}
	return rehearsal.New(cfg.Split, func(tag string) http.Handler {
		rev := stock.Revision{Resource: tag, Name: rehearsal.RevisionName(tag)}
		if isBad(tag) {
			rev.Fault = cfg.Revision.Fault
		}
		return stock.New(rev, quotes)
	}, rand.IntN)
}

const drainTimeout = 10 * time.Second

// serve answers requests until ctx ends. Then it accepts no more of them, and
// gives those in flight 10 s to finish.
func serve(ctx context.Context, listener net.Listener, handler http.Handler, logger *slog.Logger) error {
	server := &http.Server{
		Handler:      handler,
		ReadTimeout:  10 * time.Second, // for a request to arrive, body included
		WriteTimeout: time.Minute,      // for a client to receive its answer
		// Proxies keep an idle connection for less (90 s in Knative's queue-proxy):
		// none sends a request on one that is being closed.
		IdleTimeout:                  2 * time.Minute,
		MaxHeaderBytes:               64 << 10,
		DisableGeneralOptionsHandler: true, // OPTIONS * is answered like any other method.
		ErrorLog:                     slog.NewLogLogger(logger.Handler(), slog.LevelWarn),
	}
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
