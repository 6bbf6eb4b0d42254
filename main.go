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

	"github.com/knative-sample/rest-api-go/internal/config"
	"github.com/knative-sample/rest-api-go/internal/quote"
	"github.com/knative-sample/rest-api-go/internal/rehearsal"
	"github.com/knative-sample/rest-api-go/internal/server"
	"github.com/knative-sample/rest-api-go/internal/stock"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the process at once

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
	// The standard log is at a level that is not shown: net/http writes there
	// what a quote provider sends before it is asked, and that may repeat an
	// earlier request with its key.
	slog.SetLogLoggerLevel(slog.LevelDebug)
	slog.SetDefault(logger)

	var quotes quote.Source = quote.Sample{}
	prices := "sample of " + quote.SampleDay
	if cfg.QuoteURL != (quote.Template{}) {
		quotes = quote.NewUpstream(cfg.QuoteURL, cfg.QuotePointer, cfg.QuoteTTL, logger)
		prices = "upstream " + cfg.QuoteURL.Host()
	}
	listener, err := net.Listen("tcp", fmt.Sprintf(":%d", cfg.Port))
	if err != nil {
		return fmt.Errorf("PORT: %w", err)
	}
	logger.Info("serving",
		"url", fmt.Sprintf("http://localhost:%d", listener.Addr().(*net.TCPAddr).Port),
		"revision", cmp.Or(cfg.Split.String(), cfg.Revision.Name),
		"prices", prices)
	return server.Serve(ctx, listener, newHandler(cfg, quotes), cfg.Revision.Fault.Latency, logger)
}

// newHandler returns the one revision that this process is, or a rehearsal's.
func newHandler(cfg config.Config, quotes quote.Source) http.Handler {
	if len(cfg.Split) == 0 {
		return stock.New(cfg.Revision, quotes)
	}
	last, alone := cfg.Split[len(cfg.Split)-1].Tag, len(cfg.Split) == 1
	return rehearsal.New(cfg.Split, func(tag string) http.Handler {
		rev := stock.Revision{Resource: tag, Name: rehearsal.RevisionName(tag)}
		// the newest revision is the bad one: the last of several, and of one
		// alone those that are made later
		if (tag == last) != alone {
			rev.Fault = cfg.Revision.Fault
		}
		return stock.New(rev, quotes)
	}, rand.IntN)
}
