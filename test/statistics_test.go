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
// once in 10,000 runs. The bounds are those that the script tells with its ok,
// in each awk, and hold at and beyond them.
func TestFalseAlarms(t *testing.T) {
	for _, split := range [][]int{{50, 50}, {40, 30, 30}, {95, 5}, {99, 1}} {
		for _, n := range []int{20, 100, 300, 1000, 20000} {
			var want strings.Builder
			told := map[int]bool{}
			alarm := 0.0 // at most: the rows' alarms may fall together
			for _, percent := range split {
				p := float64(percent) / 100
				lo, hi := chanceBounds(n, p, 1e-4/float64(2*len(split)))
				alarm += tail(n, p, 0, lo-1) + tail(n, p, hi+1, n)
				if !told[percent] {
					fmt.Fprintf(&want, "%.1f%% to %.1f%% pass for %d%%, and ", 100*float64(lo)/float64(n), 100*float64(hi)/float64(n), percent)
				}
				told[percent] = true
			}
			if alarm > 1e-4 {
				t.Errorf("%v of %d: false alarms in %.2g of all runs", split, n, alarm)
			}
			for _, awk := range awks {
				t.Run(fmt.Sprint(split, " ", n, " ", awk), func(t *testing.T) {
					t.Parallel()
					counts, left := make([]int, len(split)), n
					for i, percent := range split {
						counts[i] = n * percent / 100
						left -= counts[i]
					}
					counts[0] += left
					got := tally(t, awk, split, counts)
					_, text, _ := strings.Cut(got.stdout, fmt.Sprintf("\nwith %d requests, ", n))
					if got.code != 0 || !strings.HasPrefix(text, want.String()+"failures of one in ") {
						t.Errorf("got\n%v\nwant\n%s", got, want.String())
					}
				})
			}
		}
	}
}

func TestBounds(t *testing.T) {
	for _, split := range [][]int{{50, 50}, {95, 5}} {
		for _, n := range []int{20, 300} {
			lo, hi := chanceBounds(n, float64(split[0])/100, 1e-4/4)
			for count, want := range map[int]int{lo - 1: 1, lo: 0, hi: 0, hi + 1: 1} {
				if count > n {
					continue
				}
				t.Run(fmt.Sprintf("%d of %d for %d%%", count, n, split[0]), func(t *testing.T) {
					t.Parallel()
					if got := tally(t, "awk", split, []int{count, n - count}); got.code != want {
						t.Errorf("got\n%v\nwant exit %d", got, want)
					}
				})
			}
		}
	}
}

// TestMissedFailures computes what the script says of failures: as few as that
// show in 99 of 100 runs, and not of many fewer.
func TestMissedFailures(t *testing.T) {
	for _, n := range []int{2, 4, 10, 22, 100, 300, 1000} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			t.Parallel()
			got := tally(t, "awk", []int{100}, []int{n})
			_, text, _ := strings.Cut(got.stdout, "failures of one in ")
			var in float64
			if _, err := fmt.Sscanf(text, "%f show 99 times in 100", &in); err != nil {
				t.Fatalf("%v: got\n%v", err, got)
			}
			missed := func(in float64) float64 { return math.Pow(1-1/in, float64(n)) }
			if missed(in) > 0.01 || missed(in+1) < 0.01 {
				t.Errorf("failures of one in %v are missed in %.4f of the runs, of one in %v in %.4f", in, missed(in), in+1, missed(in+1))
			}
		})
	}
}

// tally runs the script with an awk, and a curl that gives the revisions v1,
// v2 and so on so many answers.
func tally(t *testing.T, awk string, split, counts []int) result {
	var traffic []target
	given, n := "", 0
	for i, percent := range split {
		traffic = append(traffic, target{fmt.Sprint("v", i+1), "", percent})
		given += fmt.Sprintf("v%d:%d ", i+1, counts[i])
		n += counts[i]
	}
	server := httptest.NewServer(&cluster{states: []object{readyService(traffic...)}})
	defer server.Close()
	path := toolsWith(t, awk)
	os.Remove(filepath.Join(path, "curl"))
	link(t, self(t), filepath.Join(path, "curl"))
	link(t, self(t), filepath.Join(path, "kubectl"))
	got := runIn(t, path, "./run-test.sh", []string{fmt.Sprint(n)}, []string{"STUB_SERVER=" + server.URL, "STUB_ANSWERS=" + given, "GATEWAY=localhost"})
	if got.code == 0 && got.stderr != "" {
		t.Errorf("it has nothing to complain of: got\n%v", got)
	}
	return got
}

// chanceBounds are the outermost counts whose tail is more than chance.
func chanceBounds(n int, p, chance float64) (lo, hi int) {
	sum := tail(n, p, 0, 0)
	for ; sum <= chance; sum += tail(n, p, lo, lo) {
		lo++
	}
	hi = n
	sum = tail(n, p, n, n)
	for ; sum <= chance; sum += tail(n, p, hi, hi) {
		hi--
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
