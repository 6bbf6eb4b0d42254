package test

import (
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

var awks = []string{"mawk", "gawk", "original-awk", "busybox awk"}

// awk runs a program of scripts/ on text, in one awk.
func awk(t *testing.T, awk, program, vars string, inputs ...string) result {
	t.Helper()
	words := strings.Fields(awk)
	if _, err := exec.LookPath(words[0]); err != nil {
		t.Skip(words[0], " is not installed")
	}
	args := append(words[1:], "-f", "scripts/"+program)
	for v := range strings.SplitSeq(vars, ";") {
		if v != "" {
			args = append(args, "-v", strings.TrimSpace(v))
		}
	}
	for i, text := range inputs {
		path := filepath.Join(t.TempDir(), fmt.Sprint(i))
		write(t, path, text)
		args = append(args, path)
	}
	cmd := exec.Command(words[0], args...)
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	return finished(t, cmd)
}

const thirds = `traffic|v1|v1|50
traffic|v2|v2|50
traffic|v3|latest|0
`

// What is made of answers: the lines that are printed for them, those on
// standard error behind an exclamation mark.
var tallies = []struct{ name, vars, in, want string }{
	{"a split that fits", "requests=100;cluster=1", thirds + `
answer|48|v1|a|
answer|30|v2|b|
answer|22|v2|c|`, `
REVISION  TAG     EXPECTED  OBSERVED  COUNT  PODS
v1        v1           50%     48.0%     48     1  #####
v2        v2           50%     52.0%     52     2  #####
v3        latest        0%      0.0%      0     0

ok: no request failed, and each share fits its percentage: 30% to 70% passes for 50%`},
	{"a revision at two tags has the sum", "requests=60;cluster=1", `
traffic|v1|v1|40
traffic|v2|v2|30
traffic|v3|v3|30
traffic|v3|latest|0
answer|24|v1||
answer|18|v2||
answer|18|v3||`, `
REVISION  TAG        EXPECTED  OBSERVED  COUNT
v1        v1              40%     40.0%     24  ####
v2        v2              30%     30.0%     18  ###
v3        v3,latest       30%     30.0%     18  ###

ok: no request failed, and each share fits its percentage: 15% to 66.7% passes for 40%, 8.3% to 55% for 30%`},
	{"nothing is expected", "requests=4", `
answer|1|v2||
answer|3|v1||`, `
REVISION  OBSERVED  COUNT
v2           25.0%      1  ###
v1           75.0%      3  ########

ok: no request failed; no percentages were given`},
	{"a share that is off", "requests=100", `
traffic|v1||50
traffic|v2||50
answer|71|v1||
answer|29|v2||`, `
REVISION  EXPECTED  OBSERVED  COUNT
v1             50%     71.0%     71  #######
v2             50%     29.0%     29  ###
!v1 got 71 of 100, and chance explains 30 to 70 for 50%
!v2 got 29 of 100, and chance explains 30 to 70 for 50%`},
	{"a revision outside the traffic", "requests=20", `
traffic|v1||100
answer|19|v1||
answer|1|v9||`, `
REVISION  EXPECTED  OBSERVED  COUNT
v1            100%     95.0%     19  ##########
v9              0%      5.0%      1  #
!v1 got 19 of 20, and chance explains 20 to 20 for 100%
!v9 got 1 of 20, and chance explains 0 to 0 for 0%`},
	{"another revision at a tag", "requests=1", `
traffic|v3|latest|0
answer|1|v1||`, `
!v3 got 0 of 1, and chance explains 1 to 1 for 100%
!v1 got 1 of 1, and chance explains 0 to 0 for 0%`},
	{"failures, each cause once", "requests=10", `
traffic|v1||100
answer|5|v1||
answer|2|v1|a|status 500 from v1
answer|1|v1|b|status 500 from v1
answer|1|||no answer (Empty reply from server)
answer|1|||status 503, which names no revision`, `
REVISION  EXPECTED  OBSERVED  COUNT  FAILED  PODS
v1            100%     80.0%      8       3     2  ########
!3 of 10 requests failed: status 500 from v1
!1 of 10 requests failed: no answer (Empty reply from server)
!1 of 10 requests failed: status 503, which names no revision`},
	{"those that name no revision can be of any", "requests=40", `
traffic|v1||50
traffic|v2||50
answer|21|v1||
answer|19|||status 504, which names no revision`, `
REVISION  EXPECTED  OBSERVED  COUNT  FAILED
v1             50%     52.5%     21       0  #####
v2             50%      0.0%      0       0
!19 of 40 requests failed: status 504, which names no revision`},
	{"but not of more than there are", "requests=40", `
traffic|v1||50
traffic|v2||50
answer|38|v1||
answer|2|||status 504, which names no revision`, `
REVISION  EXPECTED  OBSERVED  COUNT  FAILED
v1             50%     95.0%     38       0  ##########
v2             50%      0.0%      0       0
!2 of 40 requests failed: status 504, which names no revision
!v1 got 38 of 40, and chance explains 8 to 32 for 50%
!v2 got 0 of 40, and chance explains 8 to 32 for 50%`},
	{"answers that name no revision", "requests=3;header=X-Revision", `
traffic|v1||100
answer|1|v1||
answer|2|||`, `
REVISION  EXPECTED  OBSERVED  COUNT
v1            100%     33.3%      1  ###
!2 of 3 answers name no revision in the header X-Revision`},
	{"a rehearsal", "requests=1", "answer|1|v1||\nrehearsed|1", "!1 of 1 answers came from a rehearsal, not from the cluster: set GATEWAY"},
	{"nothing answers", "requests=2;advice=set GATEWAY", "answer|2|||no answer (Failed to connect)", `
REVISION  OBSERVED  COUNT  FAILED
!2 of 2 requests failed: no answer (Failed to connect)
!set GATEWAY`},
	{"too few requests to see nothing at 50%", "requests=4", thirds + "answer|4|v1||", `
REVISION  EXPECTED  OBSERVED  COUNT
v1             50%    100.0%      4  ##########
v2             50%      0.0%      0
v3              0%      0.0%      0
!too few requests to see 50%: 16 are enough`},
	{"nor at 5%", "requests=214", `
traffic|v1||95
traffic|v2||5
traffic|v3|latest|0
answer|214|v1||`, `
REVISION  EXPECTED  OBSERVED  COUNT
v1             95%    100.0%    214  ##########
v2              5%      0.0%      0
v3              0%      0.0%      0
!too few requests to see 5%: 215 are enough`},
	{"but with as many as it says", "requests=215", `
traffic|v1||95
traffic|v2||5
traffic|v3|latest|0
answer|215|v1||`, `
REVISION  EXPECTED  OBSERVED  COUNT
v1             95%    100.0%    215  ##########
v2              5%      0.0%      0
v3              0%      0.0%      0
!v1 got 215 of 215, and chance explains 189 to 214 for 95%
!v2 got 0 of 215, and chance explains 1 to 26 for 5%`},
	{"of one request nobody expects that", "requests=1", thirds + "answer|1|v1||", ""},
	{"shares that cannot be judged", "requests=4", "problem|the Service | has changed\nproblem|or not\n" + thirds + "answer|4|v1||", `
REVISION  EXPECTED  OBSERVED  COUNT
v1             50%    100.0%      4  ##########
v2             50%      0.0%      0
v3              0%      0.0%      0
!the Service | has changed`},
	{"answers from before a change", "requests=4", `
traffic|v2||100
before|2|v1||status 500 from v1
answer|2|v2||`, `
REVISION  EXPECTED  OBSERVED  COUNT
v2            100%    100.0%      2  ##########
!2 of 4 requests failed: status 500 from v1`},
	{"an early end", "requests=9", "traffic|v1||100\nanswer|2|v1||", `
REVISION  EXPECTED  OBSERVED  COUNT
v1            100%    100.0%      2  ##########
!gave up after 2 of 9 requests`},
	{"a signal, even after the last answer", "want=interrupted;requests=2", "answer|2|v1||", `
REVISION  OBSERVED  COUNT
v1          100.0%      2  ##########
!interrupted after 2 of 2 requests`},
	{"a cold start", "requests=2;within=0.5", "answer|2|v1||\ncold|v1|1.8", `
REVISION  OBSERVED  COUNT
v1          100.0%      2  ##########

ok: no request failed; no percentages were given
!v1 took up to 1.8 s to answer first, which --within 0.5 does not judge`},
	{"failures that a percentage explains", "requests=100;allow=1", "answer|95|v1||\nanswer|5|v1||status 500 from v1", `
REVISION  OBSERVED  COUNT  FAILED
v1          100.0%    100       5  ##########

ok: no more failed than 1% explains; no percentages were given
!5 of 100 requests failed: status 500 from v1`},
	{"one more than it explains", "requests=100;allow=1", "answer|92|v1||\nanswer|8|v1||status 500 from v1", `
REVISION  OBSERVED  COUNT  FAILED
v1          100.0%    100       8  ##########
!8 of 100 requests failed: status 500 from v1`},
	{"not all of a few", "requests=2;allow=1", "answer|2|v1||status 500 from v1", `
REVISION  OBSERVED  COUNT  FAILED
v1          100.0%      2       2  ##########
!2 of 2 requests failed: status 500 from v1`},
	{"unless all are allowed", "requests=2;allow=100", "answer|2|v1||status 500 from v1", `
REVISION  OBSERVED  COUNT  FAILED
v1          100.0%      2       2  ##########

ok: no more failed than 100% explains; no percentages were given
!2 of 2 requests failed: status 500 from v1`},
	{"failures of another revision", "requests=9;failures_of=v2", "answer|5|v1||status 500 from v1\nanswer|4|v2||", `
REVISION  OBSERVED  COUNT  FAILED
v1           55.6%      5       5  ######
v2           44.4%      4       0  ####

ok: no request of v2 failed; no percentages were given
!5 of 9 requests failed: status 500 from v1, which does not count`},
	{"failures that can be of that revision", "requests=9;failures_of=v2", "answer|8|v1||\nanswer|1|||status 502, which names no revision", `
REVISION  OBSERVED  COUNT  FAILED
v1           88.9%      8       0  #########
!1 of 9 requests failed: status 502, which names no revision`},
	{"how many are enough for 1%", "want=enough", "traffic|v1||99\ntraffic|v2||1", "1055"},
	{"and for a revision that has all", "want=enough", "traffic|v1|latest|0", "0"},
	{"on a terminal", "want=table;requests=9;columns=44;lines=9", "answer|3|v1|a|\nanswer|1|v1|b|", "\x1b[J" + `REVISION  OBSERVED  COUNT  PODS
v1          100.0%      4     2  ##########` + "\n\x1b[2A"},
	{"on a narrow one", "want=table;requests=9;columns=20;lines=9", "answer|3|v1|a|\nanswer|1|v1|b|", "\x1b[JREVISION  OBSERVED\nv1          100.0%\n\x1b[2A"},
	{"on a low one", "want=table;requests=9;columns=40;lines=2", "answer|3|v1|a|", ""},
	{"elsewhere: is it decided?", "want=table;requests=9", "answer|3|v1||", ""},
	{"by the first failure, it is", "want=table;requests=300;failures_of=v2", "answer|1|v2||status 500 from v2", "!"},
	{"not by one of another revision", "want=table;requests=300;failures_of=v2", "answer|9|v1||status 500 from v1", ""},
	{"nor by those that a percentage may explain", "want=table;requests=300;allow=1;failures_of=v2", "traffic|v1||95\ntraffic|v2||5\nanswer|4|v2||status 500 from v2", ""},
	{"but by more, of what the revision can get at most", "want=table;requests=300;allow=1;failures_of=v2", "traffic|v1||95\ntraffic|v2||5\nanswer|6|v2||status 500 from v2", "!"},
}

func TestTally(t *testing.T) {
	for _, a := range awks {
		t.Run(a, func(t *testing.T) {
			for _, tt := range tallies {
				got := awk(t, a, "tally.awk", "allow=0;want=gave up;"+tt.vars, tt.in)
				text, code := got.stdout, 0
				for line := range strings.Lines(got.stderr) {
					text += "!" + strings.TrimPrefix(line, "run-test.sh: ")
				}
				if strings.Contains(tt.want, "!") && !strings.Contains(tt.want, "\nok: ") {
					code = 1
				}
				if strings.Trim(text, "\n") != strings.Trim(strings.TrimSuffix(tt.want, "!"), "\n") || got.code != code {
					t.Errorf("%s: exit %d\n%s\nwant exit %d\n%s", tt.name, got.code, text, code, tt.want)
				}
			}
		})
	}
}

// An honest split fails in less than one of 10,000 runs, and the bounds are no
// wider than that: beyond them it fails.
func TestTallyFailsHonestSplitsSeldom(t *testing.T) {
	for i, split := range [][]int{{50, 50}, {40, 30, 30}, {95, 5}, {99, 1}, {29, 71}} {
		for j, n := range []int{20, 100, 300, 1000, 20000} {
			alarm := 0.0 // at most: the rows' alarms may fall together
			for _, percent := range split {
				p := float64(percent) / 100
				lo, hi := chanceBounds(n, p, 1e-4/float64(2*len(split)))
				alarm += tail(n, p, 0, lo-1) + tail(n, p, hi+1, n)
			}
			if alarm > 1e-4 {
				t.Errorf("%v of %d: false alarms in %.2g of all runs", split, n, alarm)
			}
			lo, hi := chanceBounds(n, float64(split[0])/100, 1e-4/float64(2*len(split)))
			for _, count := range []int{lo - 1, lo, hi, hi + 1} {
				if count < 0 || count > n {
					continue
				}
				in := fmt.Sprintf("answer|%d|v0||\n", count)
				for k, percent := range split {
					in = fmt.Sprintf("traffic|v%d||%d\n", k, percent) + in
				}
				got := awk(t, awks[(i+j)%len(awks)], "tally.awk", fmt.Sprintf("want=gave up;allow=0;requests=%d", n), in+fmt.Sprintf("answer|%d|v1||\n", n-count))
				if complains := strings.Contains(got.stderr, "v0 got "); complains != (count < lo || count > hi) {
					t.Errorf("%d of %d for %d%%, of which %d to %d is chance: got\n%v", count, n, split[0], lo, hi, got)
				}
			}
		}
	}
}

// chanceBounds are the outermost counts whose tail is more than chance.
func chanceBounds(n int, p, chance float64) (lo, hi int) {
	for sum := tail(n, p, 0, 0); sum <= chance; sum += tail(n, p, lo, lo) {
		lo++
	}
	hi = n
	for sum := tail(n, p, n, n); sum <= chance; sum += tail(n, p, hi, hi) {
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
