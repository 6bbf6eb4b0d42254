package stock

import (
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/knative-sample/rest-api-go/internal/quote"
)

func BenchmarkIndex(b *testing.B)      { benchmark(b, "/") }
func BenchmarkStockIndex(b *testing.B) { benchmark(b, "/v1") }
func BenchmarkStockPrice(b *testing.B) { benchmark(b, "/v1/AAPL") }

func benchmark(b *testing.B, path string) {
	handler := New(v1, quote.Sample{})

	b.Run("handler", func(b *testing.B) {
		req := httptest.NewRequest("GET", path, nil)
		w := &written{header: http.Header{}}
		b.ReportAllocs()
		for b.Loop() {
			clear(w.header)
			handler.ServeHTTP(w, req)
		}
		if w.status != 200 {
			b.Fatal(w.status)
		}
	})

	b.Run("listener", func(b *testing.B) {
		server := httptest.NewServer(handler)
		defer server.Close()
		// the default keeps two connections, fewer than there may be clients
		client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 1024}}
		defer client.CloseIdleConnections()
		b.ReportAllocs() // the client's among them
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				resp, err := client.Get(server.URL + path)
				if err != nil {
					b.Error(err)
					return
				}
				io.Copy(io.Discard, resp.Body)
				resp.Body.Close()
				if resp.StatusCode != 200 {
					b.Errorf("status %d", resp.StatusCode)
				}
			}
		})
	})
}

// written is a ResponseWriter that remembers what was written.
type written struct {
	header http.Header
	status int
	bytes  int
}

func (w *written) Header() http.Header         { return w.header }
func (w *written) WriteHeader(status int)      { w.status = status }
func (w *written) Write(b []byte) (int, error) { w.bytes += len(b); return len(b), nil }
