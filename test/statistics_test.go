package test

import (
	"fmt"
	"math"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestFalseAlarms computes how often an honest split would fail: less than
// once in 10,000 runs. The bounds are the script's own, found by giving it
// answers at and beyond them.
func TestFalseAlarms(t *testing.T) {
	path := tools(t, scriptTools...)
	os.Remove(filepath.Join(path, "curl"))
	link(t, self(t), filepath.Join(path, "curl"))
	link(t, self(t), filepath.Join(path, "kubectl"))
	for _, split := range [][]int{{50, 50}, {40, 30, 30}, {95, 5}, {99, 1}} {
		for _, n := range []int{20, 100, 300, 1000} {
			t.Run(fmt.Sprint(split, " ", n), func(t *testing.T) {
				t.Parallel()
				var traffic []target
				for i, percent := range split {
					traffic = append(traffic, target{fmt.Sprint("v", i+1), "", percent})
				}
				server := httptest.NewServer(&cluster{states: []object{readyService(traffic...)}})
				defer server.Close()
				// passes runs the script on counts of v1 and v2, and v3 the rest
				passes := func(counts ...int) bool {
					given := ""
					for i, c := range counts {
						given += fmt.Sprintf("v%d:%d ", i+1, c)
					}
					got := runIn(t, path, "./run-test.sh", []string{fmt.Sprint(n)}, []string{"STUB_SERVER=" + server.URL, "STUB_ANSWERS=" + given, "GATEWAY=localhost"})
					if got.code > 1 {
						t.Fatalf("counts %v: got\n%v", counts, got)
					}
					return got.code == 0
				}

				alarm := 0.0 // at most: the rows' alarms may fall together
				for i, percent := range split {
					p := float64(percent) / 100
					lo, hi := chanceBounds(n, p, 1e-4/float64(2*len(split)))
					alarm += tail(n, p, 0, lo-1) + tail(n, p, hi+1, n)
					if len(split) > 2 && i > 0 {
						continue // the others cannot be held where they pass so simply
					}
					for count, want := range map[int]bool{lo - 1: false, lo: true, hi: true, hi + 1: false} {
						if count < 0 || count > n {
							continue
						}
						rest := n - count
						counts := []int{count, rest}
						if i == 1 {
							counts = []int{rest, count}
						}
						if len(split) == 3 {
							counts = []int{count, rest / 2, rest - rest/2}
						}
						if got := passes(counts...); got != want {
							t.Errorf("%d%%: %d of %d passes: %v, want %v", percent, count, n, got, want)
						}
					}
				}
				t.Logf("false alarms: less than %.2g of all runs", alarm)
				if alarm > 1e-4 {
					t.Errorf("too many")
				}
			})
		}
	}
}

// TestMissedFailures computes what the script says of failures: as few as that
// all N answers miss once in 100 runs, and of not much fewer that they do not.
func TestMissedFailures(t *testing.T) {
	gateway := answers{from("v1")}.gateway(t, "localhost")
	defer gateway.Close()
	for _, n := range []int{2, 4, 10, 22, 100, 300} {
		got := runScript(t, kubectl{}, &cluster{}, "./run-test.sh", []string{fmt.Sprint(n)}, []string{"DOMAIN_NAME=localhost", "GATEWAY=" + gateway.Listener.Addr().String()})
		_, text, _ := strings.Cut(got.stdout, " answers cannot tell failures of 1 request in ")
		var in float64
		if _, err := fmt.Sscanf(text, "%f from none", &in); err != nil {
			t.Fatalf("%v: got\n%v", err, got)
		}
		missed := func(in float64) float64 { return math.Pow(1-1/in, float64(n)) }
		if missed(in) < 0.01 || in > 2 && missed(in-2) > 0.011 {
			t.Errorf("%d answers: 1 request in %v is missed in %.4f of the runs, in %v in %.4f", n, in, missed(in), in-2, missed(in-2))
		}
	}
}

// chanceBounds are the outermost counts whose tail is more than chance.
func chanceBounds(n int, p, chance float64) (lo, hi int) {
	for lo = 0; tail(n, p, 0, lo) <= chance; lo++ {
	}
	for hi = n; tail(n, p, hi, n) <= chance; hi-- {
	}
	return lo, hi
}

// tail is the probability of from to to successes in n trials of p.
func tail(n int, p float64, from, to int) (sum float64) {
	lg := func(x int) float64 { v, _ := math.Lgamma(float64(x) + 1); return v }
	for k := from; k <= to; k++ {
		sum += math.Exp(lg(n) - lg(k) - lg(n-k) + float64(k)*math.Log(p) + float64(n-k)*math.Log1p(-p))
	}
	return sum
}
