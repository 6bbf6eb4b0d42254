package stock

import (
	"math/rand/v2"
	"net/http"
	"strings"
	"time"
)

// Fault makes a bad revision on purpose. The zero Fault does nothing.
type Fault struct {
	// Latency is how long every answer waits.
	Latency time.Duration
	// Rate is the share of answers that fail, from 0 to 1.
	Rate float64
}

// inject waits, and tells whether the answer is to fail. Probes are spared, so
// that the pod stays ready and clients see the failures. The wait ends early
// when the client closes its connection. It may have closed only its own half
// and still be reading, so it gets its answer then.
func (f Fault) inject(w http.ResponseWriter, r *http.Request) (fails bool) {
	if f == (Fault{}) || strings.HasPrefix(r.UserAgent(), "kube-probe/") {
		return false
	}
	// The minute that main gives the client to receive its answer begins after the wait.
	http.NewResponseController(w).SetWriteDeadline(time.Now().Add(f.Latency + time.Minute))
	select {
	case <-time.After(f.Latency):
	case <-r.Context().Done():
	}
	return rand.Float64() < f.Rate
}
