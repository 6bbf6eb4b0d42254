package quote

import (
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"runtime"
	"sync/atomic"
	"testing"
	"time"
)

func BenchmarkOneTicker100Clients(b *testing.B) {
	var fetches atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fetches.Add(1)
		io.WriteString(w, `{"price":201.36}`)
	}))
	defer server.Close()
	template, err := ParseTemplate(server.URL + "/{ticker}")
	if err != nil {
		b.Fatal(err)
	}
	upstream := NewUpstream(template, Pointer{"price"}, 10*time.Second, slog.New(slog.DiscardHandler))

	b.ReportAllocs()
	b.SetParallelism((100 + runtime.GOMAXPROCS(0) - 1) / runtime.GOMAXPROCS(0))
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if q, err := upstream.Quote("AAPL"); q.Price != "201.36" || err != nil {
				b.Errorf("%+v, %v", q, err)
				return
			}
		}
	})
	b.ReportMetric(float64(fetches.Load()), "fetches")
}
