// Package fault makes a bad revision on purpose.
package fault

import (
	"errors"
	"math/rand/v2"
	"net/http"
	"strings"
	"time"
)

// ErrInjected says that this answer is one of those that are to fail.
var ErrInjected = errors.New("failed on purpose (ERROR_RATE)")

// Fault delays every answer by Latency and fails a share Rate, 0 to 1, of
// them. The zero Fault does nothing.
type Fault struct {
	Latency time.Duration
	Rate    float64
}

// Inject waits, and returns nil or ErrInjected. It stops waiting when the client
// closes its connection: one that has closed only its own half of it still
// reads, and there is no telling the two apart, so both are answered at once.
// Probes are spared, so that the pod stays ready and the failures are seen by
// clients.
func (f Fault) Inject(r *http.Request) error {
	if f == (Fault{}) || strings.HasPrefix(r.UserAgent(), "kube-probe/") {
		return nil
	}
	if f.Latency > 0 {
		wait := time.NewTimer(f.Latency)
		defer wait.Stop()
		select {
		case <-wait.C:
		case <-r.Context().Done():
		}
	}
	if rand.Float64() < f.Rate {
		return ErrInjected
	}
	return nil
}
