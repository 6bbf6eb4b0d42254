package test

import (
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
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

// What is made of answers, line by line, each with a semicolon.
var tables = []struct{ name, vars, in, want string }{
	{"a split that fits, with a revision at two tags", "requests=60;cluster=1", "traffic|v1|v1|40;traffic|v2|v2|30;traffic|v3|v3|30;traffic|v3|latest|0;" +
		"answer|20|v1|a|;answer|4|v1|a|;answer|10|v2|b|;answer|8|v2|c|;answer|18|v3||", `
REVISION  TAG        EXPECTED  OBSERVED  COUNT  PODS
v1        v1              40%     40.0%     24     1  ####
v2        v2              30%     30.0%     18     2  ###
v3        v3,latest       30%     30.0%     18     0  ###

ok: no request failed, and each share fits its percentage: 15% to 66.7% passes for 40%, 8.3% to 55% for 30%
`},
	{"nothing is expected, and names are no numbers", "requests=8", "answer|1|1000||;answer|3|1e3||;answer|3|1e3||status 500;answer|1|||status 503", `
REVISION  OBSERVED  COUNT  FAILED
1000         12.5%      1       0  #
1e3          75.0%      6       3  ########
`},
	{"on a terminal", "want=table;requests=9;columns=44;lines=9", "answer|3|v1|a|;answer|1|v1|b|", "\n\x1b[J" + `REVISION  OBSERVED  COUNT  PODS
v1          100.0%      4     2  ##########` + "\n\x1b[2A"},
	{"on a narrow one", "want=table;requests=9;columns=20;lines=9", "answer|3|v1|a|;answer|1|v1|b|", "\n\x1b[JREVISION  OBSERVED\nv1          100.0%\n\x1b[2A"},
	{"on a low one", "want=table;requests=9;columns=40;lines=2", "answer|3|v1|a|", "\n"},
	{"how many are enough for 1%", "want=enough", "traffic|v1||99;traffic|v2||1", "\n1055\n"},
	{"and for a revision that has all", "want=enough", "traffic|v1|latest|0", "\n0\n"},
}

const (
	fifty   = "traffic|v1||50;traffic|v2||50;traffic|v3|latest|0;"
	five    = "traffic|v1||95;traffic|v2||5;traffic|v3|latest|0;"
	bad     = "status 500 from v1"
	noneBad = "ok: no request failed; no percentages were given\n"
)

// What is said behind the table.
var verdicts = []struct{ name, vars, in, want string }{
	{"a share that is off", "requests=100", fifty + "answer|71|v1||;answer|29|v2||",
		"v1 got 71 of 100, and chance explains 30 to 70 for 50%\nv2 got 29 of 100, and chance explains 30 to 70 for 50%\n"},
	{"a revision outside the traffic", "requests=20", "traffic|v1||100;answer|19|v1||;answer|1|v9||",
		"v1 got 19 of 20, and 100% is 20\nv9 got 1 of 20, and 0% is 0\n"},
	{"another revision at a tag", "requests=1", "traffic|v3|latest|0;answer|1|v1||",
		"v3 got 0 of 1, and 100% is 1\nv1 got 1 of 1, and 0% is 0\n"},
	{"failures, each cause once", "requests=4;advice=set GATEWAY", "answer|2|v1|a|" + bad + ";answer|1|v1|b|" + bad + ";answer|1|||no answer (Empty)",
		"3 of 4 requests failed: status 500 from v1\n1 of 4 requests failed: no answer (Empty)\n"},
	{"nothing answers", "requests=2;advice=set GATEWAY", "answer|2|||no answer (Failed to connect)",
		"2 of 2 requests failed: no answer (Failed to connect)\nset GATEWAY\n"},
	{"those that name no revision can be of any", "requests=40", fifty + "answer|21|v1||;answer|19|||status 504", "19 of 40 requests failed: status 504\n"},
	{"but not of more than there are", "requests=40", fifty + "answer|38|v1||;answer|2|||status 504",
		"2 of 40 requests failed: status 504\nv1 got 38 of 40, and chance explains 7 to 33 for 50%\nv2 got 0 of 40, and chance explains 7 to 33 for 50%\n"},
	{"answers that name no revision", "requests=3;header=X-Revision", "traffic|v1||100;answer|1|v1||;answer|2|||", "2 of 3 answers name no revision in the header X-Revision\n"},
	{"a rehearsal", "requests=1;cluster=1", "answer|1|v1||;rehearsed|1", "1 of 1 answers came from a rehearsal, not from the cluster: set GATEWAY\n"},
	{"which is meant", "requests=1", "answer|1|v1||;rehearsed|1", ""},
	{"too few requests to see nothing at 50%", "requests=4", fifty + "answer|4|v1||", "too few requests to see 50%: 16 are enough\n"},
	{"nor at 5%", "requests=214", five + "answer|214|v1||", "too few requests to see 5%: 215 are enough\n"},
	{"but with as many as it says", "requests=215", five + "answer|215|v1||",
		"v1 got 215 of 215, and chance explains 189 to 214 for 95%\nv2 got 0 of 215, and chance explains 1 to 26 for 5%\n"},
	{"of one request nobody expects that", "requests=1", fifty + "answer|1|v1||", ""},
	{"shares that cannot be judged", "requests=4", "problem|it | has changed;problem|or not;" + fifty + "answer|4|v1||", "it | has changed\n"},
	{"answers from before a change", "requests=4", "traffic|v2||100;before|2|v1||" + bad + ";answer|2|v2||", "2 of 4 requests failed: status 500 from v1\n"},
	{"an early end", "requests=9", "traffic|v1||100;answer|2|v1||", "gave up after 2 of 9 requests\n"},
	{"a signal, even after the last answer", "want=interrupted;requests=2", "answer|2|v1||", "interrupted after 2 of 2 requests\n"},
	{"a cold start", "requests=2;within=0.5", "answer|2|v1||;cold|v1|1.8", noneBad + "v1 took up to 1.8 s to answer first, which --within 0.5 does not judge\n"},
	{"failures that a percentage explains", "requests=100;allow=1", "answer|93|v1||;answer|7|v1||" + bad,
		"ok: no more failed than 1% explains; no percentages were given\n7 of 100 requests failed: status 500 from v1\n"},
	{"more than it explains", "requests=100;allow=1", "answer|92|v1||;answer|8|v1||" + bad, "8 of 100 requests failed: status 500 from v1\n"},
	{"not all of a few", "requests=2;allow=1", "answer|2|v1||" + bad, "2 of 2 requests failed: status 500 from v1\n"},
	{"unless all are allowed", "requests=2;allow=100", "answer|2|v1||" + bad,
		"ok: no more failed than 100% explains; no percentages were given\n2 of 2 requests failed: status 500 from v1\n"},
	{"failures of another revision", "requests=9;failures_of=1e3", "answer|5|1000||status 500 from 1000;answer|4|1e3||",
		"ok: no request of 1e3 failed; no percentages were given\n5 of 9 requests failed: status 500 from 1000, which does not count\n"},
	{"a revision that has answered nothing", "requests=2;failures_of=v9", "traffic|v1||100;traffic|v9|latest|0;answer|2|v1||status 500",
		"ok: no answer came from v9, and each share fits its percentage\n2 of 2 requests failed: status 500, which does not count\n"},
	{"failures that can be of that revision", "requests=9;failures_of=v2", "answer|8|v1||;answer|1|||status 502", "1 of 9 requests failed: status 502\n"},
	{"it is not decided", "want=table;requests=9", "answer|3|v1||", ""},
	{"by the first failure, it is", "want=table;requests=300;failures_of=v2", "answer|1|v2||status 500", "exit 1"},
	{"not by one of another revision", "want=table;requests=300;failures_of=00001", "answer|9|1||status 500 from 1", ""},
	{"nor by those that a percentage may explain", "want=table;requests=300;allow=1;failures_of=v2", five + "answer|4|v2||status 500", ""},
	{"but by more, of what the revision can get at most", "want=table;requests=300;allow=1;failures_of=v2", five + "answer|6|v2||status 500", "exit 1"},
}

func TestTally(t *testing.T) {
	tally := func(t *testing.T, a, vars, in string) result {
		return awk(t, a, "tally.awk", "allow=0;want=gave up;"+vars, strings.ReplaceAll(in, ";", "\n")+"\n")
	}
	for _, a := range awks {
		t.Run(a, func(t *testing.T) {
			for _, tt := range tables {
				if got := tally(t, a, tt.vars, tt.in); "\n"+got.stdout != tt.want {
					t.Errorf("%s: got\n%v\nwant%s", tt.name, got, tt.want)
				}
			}
			for _, tt := range verdicts {
				got := tally(t, a, tt.vars, tt.in)
				said := strings.ReplaceAll(got.stderr, "run-test.sh: ", "")
				if _, ok, passed := strings.Cut(got.stdout, "\nok: "); passed {
					said = "ok: " + ok + said
				}
				if got.code == 1 && said == "" {
					said = "exit 1"
				}
				if said != tt.want || (got.code == 0) != (said == "" || strings.HasPrefix(said, "ok: ")) {
					t.Errorf("%s: got\n%v\nwant\n%s", tt.name, got, tt.want)
				}
			}
			many := "traffic|v1||100\n"
			for i := range 25 {
				many += fmt.Sprintf("answer|1|x%d||;", i)
			}
			const says = "5 of 25 answers name more revisions than this table shows\n"
			if got := tally(t, a, "requests=25", many); strings.Count(got.stdout, "\n") != 1+1+20 || !strings.Contains(got.stderr, says) {
				t.Errorf("25 revisions outside the traffic: got\n%v", got)
			}
		})
	}
}

// In at most one of 20,000 runs an honest split has fewer than what is said to
// be chance, or more, all its revisions together; and the bounds are no wider.
func TestTallyFailsHonestSplitsSeldom(t *testing.T) {
	for i, split := range [][]int{{50, 50}, {40, 30, 30}, {95, 5}, {99, 1}, {29, 71}} {
		for j, n := range []int{60, 100, 300, 1000, 20000} {
			in, lo, hi := fmt.Sprintf("answer|%d|other||\n", n), 0, 0
			for k, percent := range split {
				in = fmt.Sprintf("traffic|v%d||%d\n", k, percent) + in
			}
			got := awk(t, awks[(i+j)%len(awks)], "tally.awk", fmt.Sprintf("want=gave up;allow=0;requests=%d", n), in).stderr
			_, bounds, _ := strings.Cut(got, fmt.Sprintf("v0 got 0 of %d, and chance explains ", n))
			fmt.Sscanf(bounds, "%d to %d", &lo, &hi)
			p, chance := float64(split[0])/100, 1.0/20000/float64(len(split))
			if tail(n, p, 0, lo-1) > chance || tail(n, p, 0, lo) <= chance || tail(n, p, hi+1, n) > chance || tail(n, p, hi, n) <= chance {
				t.Errorf("%d%% of %d: got %d to %d from\n%s", split[0], n, lo, hi, got)
			}
		}
	}
}

// tail is the probability of from to to successes in n trials of p.
func tail(n int, p float64, from, to int) (sum float64) {
	lg := func(x int) float64 { v, _ := math.Lgamma(float64(x) + 1); return v }
	for k := from; k <= to; k++ {
		sum += math.Exp(lg(n) - lg(k) - lg(n-k) + float64(k)*math.Log(p) + float64(n-k)*math.Log1p(-p))
	}
	return sum
}

// wrote is what a curl writes of an answer: its headers, and how it went.
func wrote(headers, record string) string {
	return strings.ReplaceAll(headers, "\n", "\r\n") + "\nM|" + record + "|.\n"
}

const (
	okay     = "0|200|0.001|0.002|"
	ofV1     = "HTTP/1.1 200 OK\nX-Revision: v1\nX-Pod: a\n\n"
	waits    = "28|000|0.001|2.001|Operation timed out after 2001 milliseconds with 0 bytes received"
	refuses  = "7|000|0|0.001|Failed to connect to 127.0.0.1 port 1 after 0 ms: Couldn't connect to server"
	refused  = "|||no answer (Failed to connect to 127.0.0.1 port 1: Couldn't connect to server)"
	outcomes = "timeout=2;within=0.5"
	slow     = "answer|1|v1|a|took longer than 0.5 s from v1"
)

// What is found in what the curls have written, without the lines on the curls.
var records = []struct{ name, vars, in, want string }{
	{"answers that are alike", "", wrote("HTTP/1.1 200 OK\nx-REVISION:v1 \t\n\n", okay) + "HTTP/1.1 200 OK\nX-Revision: v1\n\n\nM|" + okay + "|.\n", "answer|2|v1||"},
	{"another header, and a prefix that goes", "header=K-Revision;prefix=s-", wrote("HTTP/1.1 200 OK\nk-revision: s-v1\n\n", okay), "answer|1|v1||"},
	{"the last of two, and of the final answer alone", "",
		wrote("HTTP/1.1 103 Early Hints\nX-Pod: b\n\nHTTP/1.1 200 OK\nX-Revision: v9\nX-Revision: v1\n\n", okay), "answer|1|v1||"},
	{"empty ones name nothing", "", wrote("HTTP/1.1 200 OK\nX-Revision: \nX-Pod: \nX-Rehearsal: \n\n", okay), "answer|1|||"},
	{"headers do not pass for records", "", wrote("HTTP/1.1 200 OK\nX-Revision: v1\nM 1|0|200|0|0||.\nanswer|9|v9||\nM curl |1\n\n", okay), "answer|1|v1||"},
	{"no answer can draw on the terminal, or look like two", "", wrote("HTTP/1.1 200 OK\nX-Revision: a|b %s\x1b[2J\a\n\n", okay), "answer|1|a?b %s?[2J?||"},
	{"a rehearsal, and a success of any kind", "", wrote("HTTP/1.1 299 x\nX-Revision: v1\nX-Rehearsal: v1=100\n\n", "0|299|0|0|"), "answer|1|v1||\nrehearsed|1"},
	{"what the curl is still writing", "", wrote(ofV1, okay) + "HTTP/1.1 200 OK\r\nX-Revision: v2\r\n\r\n\nM|28|200|0|0|Oper", "answer|1|v1|a|"},
	{"other statuses", "", wrote("HTTP/1.1 301 x\nX-Revision: v1\n\n", "0|301|0|0|") + wrote("HTTP/1.1 502 x\n\n", "0|502|0|0|"), "answer|1|v1||status 301 from v1\n" +
		"answer|1|||status 502, which names no revision: the program broke the connection, or its pod went away"},
	{"no answer, told without its times", "", wrote("", refuses) + wrote("", strings.Replace(refuses, "0 ms", "12 ms", 1)), "answer|2" + refused},
	{"silence", outcomes, wrote("", waits), "answer|1|||connected, but no answer within 2 s"},
	{"a body cut short", "", wrote(ofV1, "18|200|0.001|0.002|end of response with 100 bytes missing"), "answer|1|v1|a|an answer cut short (end of response) from v1"},
	{"one that stalls", "", wrote(ofV1, strings.Replace(waits, "000", "200", 1)), "answer|1|v1|a|an answer cut short (Operation timed out) from v1"},
	{"headers cut short, which is no error for curl", "", wrote("HTTP/1.1 200 OK\nX-Revision: v1\n", okay), "answer|1|v1||an answer cut short (in its headers) from v1"},
	{"a first answer that takes long, and one after it", outcomes, wrote(ofV1, "0|200|0|1.5|") + wrote(ofV1, "0|200|0|0.6|"), "answer|1|v1|a|\n" + slow + "\ncold|v1|1.5"},
	{"one of another curl that was sent before", outcomes, wrote(ofV1, "0|200|0|1.5|") + "\nM curl|2\n" + wrote(ofV1, "0|200|0|1.2|") + wrote(ofV1, "0|200|0|0.9|"),
		"answer|2|v1|a|\n" + slow + "\ncold|v1|1.5"},
	{"and by its rate, after", outcomes + ";gap=1600", wrote(ofV1, "0|200|0|0.4|") + "\nM curl|2\n" + wrote("", refuses) + wrote(ofV1, "0|200|0|0.9|"),
		"answer|1|v1|a|\n" + slow + "\nanswer|1" + refused},
	{"the one request that is sent is judged plainly", outcomes + ";alone=1", wrote(ofV1, "0|200|0|1.5|"), slow},
	{"so is one that names no revision", outcomes, wrote("HTTP/1.1 200 OK\n\n", "0|200|0|0.6|"), "answer|1|||took longer than 0.5 s, which names no revision"},
}

func TestAnswers(t *testing.T) {
	for _, a := range awks {
		t.Run(a, func(t *testing.T) {
			for _, tt := range records {
				got := awk(t, a, "answers.awk", "mark=M;header=X-Revision;"+tt.vars, "curl|1|0|0\n", "M curl|1\n"+tt.in)
				if text := answerLines(got.stdout); text != sorted(tt.want) || got.stderr != "" {
					t.Errorf("%s: got\n%s%s\nwant\n%s", tt.name, text, got.stderr, tt.want)
				}
			}
		})
	}
}

// answerLines are the lines on answers alone, in order.
func answerLines(text string) string {
	return sorted(regexp.MustCompile(`(?m)^(curl|silent|woke)\|.*\n`).ReplaceAllString(text, ""))
}

func sorted(text string) string {
	lines := strings.Split(strings.Trim(text, "\n"), "\n")
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

// Wherever the curl is when it is read, the next time goes on from there.
func TestAnswersGoOnFromWhereTheyStopped(t *testing.T) {
	text := wrote(ofV1, "0|200|0|1.5|") + wrote("", refuses) + wrote(ofV1, "0|200|0|0.6|") + wrote("HTTP/1.1 299 x\nX-Revision: v2\nX-Rehearsal: x\n\n", okay)
	const vars = "mark=M;header=X-Revision;within=0.5"
	whole := awk(t, awks[0], "answers.awk", vars, "curl|1|0|0\n", "M curl|1\n"+text).stdout
	for i := 0; i < len(text); i += 5 {
		a, bytes := awks[i%len(awks)], 0
		first := awk(t, a, "answers.awk", vars, "curl|1|0|0\n", "M curl|1\n"+text[:i]+"\n").stdout
		fmt.Sscanf(first[strings.Index(first, "curl|1|"):], "curl|1|%d", &bytes)
		second := awk(t, a, "answers.awk", vars, first, "M curl|1\n"+text[bytes:]+"\n").stdout
		if sorted(second) != sorted(whole) {
			t.Fatalf("%s, read up to byte %d, and then from %d: got\n%s\nwant\n%s", a, i, bytes, sorted(second), sorted(whole))
		}
	}
	if before := awk(t, awks[0], "answers.awk", vars+";changed=1", whole).stdout; answerLines(before) != strings.ReplaceAll(answerLines(whole), "answer|", "before|") {
		t.Errorf("after a change: got\n%s", before)
	}
}

// Silence is what fails since anything was answered: 5 is too much.
func TestAnswersSeeSilence(t *testing.T) {
	for _, tt := range []struct{ before, in, want string }{
		{"", wrote("", waits), "5|0"},
		{"silent|0|1\n", wrote("", waits), "3|1"},
		{"silent|3|1\n", wrote("", waits) + wrote("", refuses), "7|1"},
		{"silent|4|0\n", wrote("HTTP/1.1 500 x\n\n", "0|500|0|0|") + wrote("", refuses), "0|1"},
	} {
		got := awk(t, awks[0], "answers.awk", "mark=M", tt.before+"curl|1|0|0\n", "M curl|1\n"+tt.in).stdout
		if first, _, _ := strings.Cut(got, "\n"); first != "silent|"+tt.want {
			t.Errorf("after %s %s: got %s, want %s", tt.before, tt.in, first, tt.want)
		}
	}
}
