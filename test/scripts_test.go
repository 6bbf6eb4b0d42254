package test

import (
	"bufio"
	"cmp"
	"fmt"
	"io"
	"log"
	"math"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

const (
	to       = " requests to http://" + routeHost + "/ through GATEWAY\n\n"
	toLatest = " requests to http://latest-" + routeHost + "/ through GATEWAY\n\n"
	toLocal  = " requests to http://localhost/ through GATEWAY\n\n"
)

func TestScripts(t *testing.T) {
	tests := []struct {
		name    string
		script  string // run-test.sh unless given
		args    string
		cluster []object // the Service's states
		answers answers
		host    string // routeHost unless given
		env     []string
		code    int
		stdout  string
		stderr  string // a line each, without the script's name
	}{
		// what it shows

		{
			name:    "one request prints its answer",
			cluster: []object{readyService(split5050...)},
			answers: answers{from("v1")},
			stdout:  "Welcome to the v1 app! \n",
		},
		{
			name:    "to the byte",
			cluster: []object{readyService(split5050...)},
			answers: answers{{status: 200, revision: "stock-service-example-v1", text: "\n\na|b \\n"}},
			stdout:  "\n\na|b \\n",
		},
		{
			name: "N requests show the split", args: "100",
			cluster: []object{readyService(split5050...)},
			answers: answers{from("v1"), from("v2")},
			stdout: "100" + to +
				`REVISION                  TAG     EXPECTED  OBSERVED  COUNT
stock-service-example-v1  v1           50%     50.0%     50  #####
stock-service-example-v2  v2           50%     50.0%     50  #####
stock-service-example-v3  latest        0%      0.0%      0

ok: no request failed, and each share fits its percent
100 answers cannot tell 50% from 30.0% to 70.0%, or failures of 1 request in 23 from none
`,
		},
		{
			name: "a revision at two tags has the sum of their percents", args: "10",
			cluster: []object{readyService(split433...)},
			answers: answers{from("v1"), from("v2"), from("v3"), from("v1"), from("v2"), from("v3"), from("v1"), from("v2"), from("v3"), from("v1")},
			stdout: "10" + to +
				`REVISION                  TAG        EXPECTED  OBSERVED  COUNT
stock-service-example-v1  v1              40%     40.0%      4  ####
stock-service-example-v2  v2              30%     30.0%      3  ###
stock-service-example-v3  v3,latest       30%     30.0%      3  ###

ok: no request failed, and each share fits its percent
10 answers cannot tell 40% from 0.0% to 100.0%, or 30% from 0.0% to 90.0%, or failures of 1 request in 4 from none
`,
		},
		{
			name: "pods have a column where answers name them", args: "4",
			cluster: []object{readyService(split5050...)},
			answers: answers{from("v1").saying("X-Pod: a"), from("v2").saying("X-Pod: b"), from("v2").saying("X-Pod: c"), from("v1").saying("X-Pod: a")},
			stdout: "4" + to +
				`REVISION                  TAG     EXPECTED  OBSERVED  COUNT  PODS
stock-service-example-v1  v1           50%     50.0%      2     1  #####
stock-service-example-v2  v2           50%     50.0%      2     2  #####
stock-service-example-v3  latest        0%      0.0%      0     0

ok: no request failed, and each share fits its percent
4 answers cannot tell 50% from 0.0% to 100.0%, or failures of 1 request in 2 from none
`,
		},
		{
			name: "at a tag one revision has all", script: "latest-run-test.sh", args: "20",
			cluster: []object{readyService(split5050...)},
			answers: answers{from("v3")}, host: "latest-" + routeHost,
			stdout: "20" + toLatest +
				`REVISION                  TAG     EXPECTED  OBSERVED  COUNT
stock-service-example-v3  latest      100%    100.0%     20  ##########

ok: no request failed, and each share fits its percent
20 answers cannot tell failures of 1 request in 6 from none
`,
		},
		{
			name: "any tag, any path", args: "--tag v2 --path /stock/AAPL?x=1",
			cluster: []object{readyService(split5050...)},
			answers: answers{from("v2")}, host: "v2-" + routeHost,
			stdout: "Welcome to the v2 app! \n",
		},
		{
			name: "without a cluster there is nothing to expect", args: "4", env: []string{"GATEWAY=GATEWAY", "DOMAIN_NAME=localhost"},
			answers: answers{from("v2"), from("v1"), from("v3"), from("v1")}, host: "localhost",
			stdout: "4" + toLocal +
				`REVISION                  OBSERVED  COUNT
stock-service-example-v1     50.0%      2  #####
stock-service-example-v2     25.0%      1  ###
stock-service-example-v3     25.0%      1  ###

ok: no request failed; no cluster was asked for the percents
4 answers cannot tell failures of 1 request in 2 from none
`,
		},

		// whose answer it is

		{
			name: "an image without X-Revision is known by its text", args: "2",
			cluster: []object{readyService(split5050...)},
			answers: answers{old("v1"), {status: 201, text: "Hello v2\nof v1"}},
			stdout: "2" + to +
				`REVISION                  TAG     EXPECTED  OBSERVED  COUNT
stock-service-example-v1  v1           50%     50.0%      1  #####
stock-service-example-v2  v2           50%     50.0%      1  #####
stock-service-example-v3  latest        0%      0.0%      0

ok: no request failed, and each share fits its percent
2 answers cannot tell 50% from 0.0% to 100.0%, or failures of 1 request in 2 from none
`,
		},
		{
			name: "and without a cluster too", args: "2", env: []string{"GATEWAY=GATEWAY", "DOMAIN_NAME=localhost"},
			answers: answers{old("v1"), {status: 200, text: "Hello v2\nof v1"}}, host: "localhost",
			stdout: "2" + toLocal +
				`REVISION                   OBSERVED  COUNT
"Hello v2"                    50.0%      1  #####
"Welcome to the v1 app! "     50.0%      1  #####

ok: no request failed; no cluster was asked for the percents
2 answers cannot tell failures of 1 request in 2 from none
`,
		},
		{
			name: "and where the header is empty", args: "1",
			cluster: []object{readyService(target{"v2", "", 100})},
			answers: answers{old("v2").saying("X-Revision: ")},
			stdout:  "Welcome to the v2 app! \n",
		},
		{
			name: "an empty header names no pod, either", args: "2",
			cluster: []object{readyService(allV1...)},
			answers: answers{from("v1").saying("X-Pod: ")},
			stdout: "2" + to +
				`REVISION                  TAG  EXPECTED  OBSERVED  COUNT
stock-service-example-v1           100%    100.0%      2  ##########

ok: no request failed, and each share fits its percent
2 answers cannot tell failures of 1 request in 2 from none
`,
		},
		{
			name: "nor a rehearsal", args: "",
			cluster: []object{readyService(allV1...)},
			answers: answers{from("v1").saying("X-Rehearsal: ")},
			stdout:  "Welcome to the v1 app! \n",
		},
		{
			name: "answers of no revision are told", args: "3",
			cluster: []object{readyService(allV1...)},
			answers: answers{from("v1"), {status: 200, text: "<html>a login page</html>"}, {status: 200, text: "between v1 and v1"}},
			code:    1,
			stdout: "3" + to +
				`REVISION                  TAG  EXPECTED  OBSERVED  COUNT
stock-service-example-v1           100%    100.0%      2  ##########
`,
			stderr: "1 of 3 answers name no revision, neither by X-Revision nor by their text\n",
		},
		{
			name: "a revision outside the traffic expects 0%", args: "100",
			cluster: []object{readyService(split5050...)},
			answers: append(times(49, from("v1"), from("v2")), from("v3"), from("v9")),
			code:    1,
			stdout: "100" + to +
				`REVISION                  TAG     EXPECTED  OBSERVED  COUNT
stock-service-example-v1  v1           50%     49.0%     49  #####
stock-service-example-v2  v2           50%     49.0%     49  #####
stock-service-example-v3  latest        0%      1.0%      1
stock-service-example-v9                0%      1.0%      1
`,
			stderr: `stock-service-example-v3 got 1 of 100 answers, and chance explains 0 to 0 for 0%
stock-service-example-v9 got 1 of 100 answers, and chance explains 0 to 0 for 0%
`,
		},
		{
			name: "another revision at a tag", script: "latest-run-test.sh",
			cluster: []object{readyService(split5050...)},
			answers: answers{from("v1")}, host: "latest-" + routeHost,
			code:   1,
			stdout: "Welcome to the v1 app! \n",
			stderr: `stock-service-example-v1 got 1 of 1 answers, and chance explains 0 to 0 for 0%
stock-service-example-v3 got 0 of 1 answers, and chance explains 1 to 1 for 100%
`,
		},
		{
			name: "no answer can draw on the terminal", args: "2",
			cluster: []object{readyService(allV1...)},
			answers: answers{from("v1"), from("v\a2")},
			code:    1,
			stdout: "2" + to +
				`REVISION                   TAG  EXPECTED  OBSERVED  COUNT
stock-service-example-v1            100%     50.0%      1  #####
stock-service-example-v?2             0%     50.0%      1  #####
`,
			stderr: `stock-service-example-v1 got 1 of 2 answers, and chance explains 2 to 2 for 100%
stock-service-example-v?2 got 1 of 2 answers, and chance explains 0 to 0 for 0%
`,
		},
		{
			name: "a rehearsal is not the cluster", args: "2",
			cluster: []object{readyService(allV1...)},
			answers: answers{from("v1").saying("X-Rehearsal: v1=100"), from("v2").saying("X-Rehearsal: v1=100")},
			code:    1,
			stdout: "2" + to +
				`REVISION                  TAG  EXPECTED  OBSERVED  COUNT
stock-service-example-v1           100%     50.0%      1  #####
stock-service-example-v2             0%     50.0%      1  #####
`,
			stderr: `2 of 2 answers came from a rehearsal (SPLIT), not from the cluster: set GATEWAY to its gateway
stock-service-example-v1 got 1 of 2 answers, and chance explains 2 to 2 for 100%
stock-service-example-v2 got 1 of 2 answers, and chance explains 0 to 0 for 0%
`,
		},

		// what failed

		{
			name: "a failing revision, and nothing else", args: "50",
			cluster: []object{readyService(split433...)},
			answers: times(5, from("v1"), from("v1"), from("v1"), from("v1"), from("v2"), from("v2"), from("v2"),
				from("v3").with(500), from("v3").with(500), from("v3").with(500)),
			code: 1,
			stdout: "50" + to +
				`REVISION                  TAG        EXPECTED  OBSERVED  COUNT  FAILED
stock-service-example-v1  v1              40%     40.0%     20       0  ####
stock-service-example-v2  v2              30%     30.0%     15       0  ###
stock-service-example-v3  v3,latest       30%     30.0%     15      15  ###
`,
			stderr: "15 of 50 requests failed: status 500 from stock-service-example-v3\n",
		},
		{
			name:    "one request that fails",
			cluster: []object{readyService(split5050...)},
			answers: answers{{status: 503, text: "no healthy upstream\n"}},
			code:    1,
			stdout:  "no healthy upstream\n",
			stderr:  "1 of 1 requests failed: status 503, which names no revision\n",
		},
		{
			name: "each cause is told once", args: "12",
			cluster: []object{readyService(allV1...)},
			answers: answers{
				from("v1").going(truncated), {status: 200, revision: "stock-service-example-v1", text: "longer than the other", way: truncated},
				from("v1").going(noAnswer), from("v1").going(reset), from("v1").going(noAnswer),
				from("v1").with(302), from("v1").with(404), {status: 301}, {status: 301}, {status: 404}, from("v1").with(204), from("v1").with(299),
			},
			code: 1,
			stdout: "12" + to +
				`REVISION                  TAG  EXPECTED  OBSERVED  COUNT  FAILED
stock-service-example-v1           100%    100.0%      7       5  ##########
`,
			stderr: `2 of 12 requests failed: an answer cut short (CUT) from stock-service-example-v1
2 of 12 requests failed: no answer (Empty reply from server)
1 of 12 requests failed: an answer cut short (Recv failure: Connection reset by peer) from stock-service-example-v1
1 of 12 requests failed: status 302 from stock-service-example-v1
1 of 12 requests failed: status 404 from stock-service-example-v1
2 of 12 requests failed: status 301, which names no revision
1 of 12 requests failed: status 404, which names no revision
`,
		},
		{
			name: "a gateway that never answers is given up", args: "50",
			cluster: []object{readyService(allV1...)},
			answers: answers{from("v1").going(noAnswer)},
			code:    1,
			stdout: "50" + to +
				`REVISION                  TAG  EXPECTED  OBSERVED  COUNT  FAILED
stock-service-example-v1           100%      0.0%      0       0
`,
			stderr: `gave up after 5 of 50 requests
5 of 5 requests failed: no answer (Empty reply from server)
set GATEWAY to an address that reaches the gateway from here
`,
		},
		{
			name: "but not after the last request", args: "5",
			cluster: []object{readyService(allV1...)},
			answers: answers{from("v1").going(noAnswer)},
			code:    1,
			stdout: "5" + to +
				`REVISION                  TAG  EXPECTED  OBSERVED  COUNT  FAILED
stock-service-example-v1           100%      0.0%      0       0
`,
			stderr: `5 of 5 requests failed: no answer (Empty reply from server)
set GATEWAY to an address that reaches the gateway from here
`,
		},
		{
			name: "and one that dies", args: "200",
			cluster: []object{readyService(allV1...)},
			answers: append(times(91, from("v1")), times(200, from("v1").going(noAnswer))...),
			code:    1,
			stdout: "200" + to +
				`REVISION                  TAG  EXPECTED  OBSERVED  COUNT  FAILED
stock-service-example-v1           100%    100.0%     91       0  ##########
`,
			stderr: `gave up after 96 of 200 requests
5 of 96 requests failed: no answer (Empty reply from server)
`,
		},

		// what chance explains: the two outermost counts that pass

		{
			name: "30 of 100 for 50% is chance", args: "100",
			cluster: []object{readyService(split5050...)},
			answers: append(times(30, from("v2")), times(70, from("v1"))...),
			stdout: "100" + to +
				`REVISION                  TAG     EXPECTED  OBSERVED  COUNT
stock-service-example-v1  v1           50%     70.0%     70  #######
stock-service-example-v2  v2           50%     30.0%     30  ###
stock-service-example-v3  latest        0%      0.0%      0

ok: no request failed, and each share fits its percent
100 answers cannot tell 50% from 30.0% to 70.0%, or failures of 1 request in 23 from none
`,
		},
		{
			name: "29 is not", args: "100",
			cluster: []object{readyService(split5050...)},
			answers: append(times(29, from("v2")), times(71, from("v1"))...),
			code:    1,
			stdout: "100" + to +
				`REVISION                  TAG     EXPECTED  OBSERVED  COUNT
stock-service-example-v1  v1           50%     71.0%     71  #######
stock-service-example-v2  v2           50%     29.0%     29  ###
stock-service-example-v3  latest        0%      0.0%      0
`,
			stderr: `stock-service-example-v1 got 71 of 100 answers, and chance explains 30 to 70 for 50%
stock-service-example-v2 got 29 of 100 answers, and chance explains 30 to 70 for 50%
`,
		},
		{
			name: "percents are as in the file, of which binary fractions differ", args: "2",
			cluster: []object{readyService(target{"v1", "", 29}, target{"v2", "", 71})},
			answers: answers{from("v1"), from("v2")},
			stdout: "2" + to +
				`REVISION                  TAG  EXPECTED  OBSERVED  COUNT
stock-service-example-v1            29%     50.0%      1  #####
stock-service-example-v2            71%     50.0%      1  #####

ok: no request failed, and each share fits its percent
2 answers cannot tell 29% from 0.0% to 100.0%, or 71% from 0.0% to 100.0%, or failures of 1 request in 2 from none
`,
		},

		// which Service, which gateway

		{
			name: "GATEWAY alone still asks for the Service", env: []string{"GATEWAY=GATEWAY"},
			cluster: []object{readyService(split5050...)},
			answers: answers{from("v1")},
			stdout:  "Welcome to the v1 app! \n",
		},
		{
			name: "as a URL, too", env: []string{"GATEWAY=http://GATEWAY/"},
			cluster: []object{readyService(split5050...)},
			answers: answers{from("v1")},
			stdout:  "Welcome to the v1 app! \n",
		},
		{
			name: "DOMAIN_NAME alone still asks for the gateway", env: []string{"DOMAIN_NAME=stocks.example.org"},
			cluster: []object{readyService(split5050...)},
			answers: answers{from("v1")}, host: "stocks.example.org",
			stdout: "Welcome to the v1 app! \n",
		},
		{
			name: "names that others export do not matter", env: []string{"HOST=x", "TAG=v2", "COLUMNS=9", "http_proxy=http://127.0.0.1:1", "all_proxy=http://127.0.0.1:1", "CURL_HOME=/"},
			cluster: []object{readyService(split5050...)},
			answers: answers{from("v1")},
			stdout:  "Welcome to the v1 app! \n",
		},
		{
			name: "it waits until the last apply is taken up", args: "2",
			cluster: []object{
				service(2, 1, "True", "", "", allV1...),
				service(2, 2, "Unknown", "OutOfDate", "", allV1...),
				service(2, 2, "False", "RevisionMissing", "of the apply before", allV1...),
				lingering(service(2, 2, "True", "", "", split5050...), allV1...),
				service(2, 2, "True", "", "", split5050...),
			},
			answers: answers{from("v1"), from("v2")},
			stdout: "2" + to +
				`REVISION                  TAG     EXPECTED  OBSERVED  COUNT
stock-service-example-v1  v1           50%     50.0%      1  #####
stock-service-example-v2  v2           50%     50.0%      1  #####
stock-service-example-v3  latest        0%      0.0%      0

ok: no request failed, and each share fits its percent
2 answers cannot tell 50% from 0.0% to 100.0%, or failures of 1 request in 2 from none
`,
		},
		{
			name: "a failure of some seconds is that of the apply before", args: "",
			cluster: append(sameState(3, service(2, 2, "False", "RevisionNameTaken", "of the apply before", allV1...)), service(2, 2, "True", "", "", allV1...)),
			answers: answers{from("v1")},
			stdout:  "Welcome to the v1 app! \n",
		},
		{
			name: "and the tag latest has the latest revision", script: "latest-run-test.sh",
			cluster: []object{
				lingering(service(3, 3, "True", "", "", split5050...), target{"v1", "v1", 50}, target{"v2", "v2", 50}, target{"v2", "latest", 0}),
				service(3, 3, "True", "", "", split5050...),
			},
			answers: answers{from("v3")}, host: "latest-" + routeHost,
			stdout: "Welcome to the v3 app! \n",
		},
		{
			name: "a Service that is edited meanwhile is not judged", args: "2",
			cluster: []object{readyService(allV1...), service(2, 1, "Unknown", "", "", split5050...)},
			answers: answers{from("v1"), from("v2")},
			code:    1,
			stdout: "2" + to +
				`REVISION                  TAG  EXPECTED  OBSERVED  COUNT
stock-service-example-v1           100%     50.0%      1  #####
stock-service-example-v2             0%     50.0%      1  #####
`,
			stderr: "the Service was edited meanwhile, or kubectl no longer gets it: the shares are not judged\n",
		},
		{
			name: "nor one that is deleted", args: "2",
			cluster: []object{readyService(allV1...), nil},
			answers: answers{from("v1")},
			code:    1,
			stdout: "2" + to +
				`REVISION                  TAG  EXPECTED  OBSERVED  COUNT
stock-service-example-v1           100%    100.0%      2  ##########
`,
			stderr: "the Service was edited meanwhile, or kubectl no longer gets it: the shares are not judged\n",
		},
		{
			name: "traffic that stays other than the spec's", env: []string{"WAIT=1"},
			cluster: []object{lingering(readyService(split5050...), allV1...)},
			code:    2,
			stderr:  listed + "Service stock-service-example in namespace default is not Ready after 1 s: its traffic is stock-service-example-v1,,100 , its spec's stock-service-example-v1,v1,50 stock-service-example-v2,v2,50 stock-service-example-v3,latest,0 \n",
		},
		{
			name: "no traffic at all", env: []string{"WAIT=0"},
			cluster: []object{readyService()},
			code:    2,
			stderr:  listed + "Service stock-service-example in namespace default is not Ready after 0 s: its traffic is , its spec's \n",
		},
		{
			name: "a Service that fails", env: []string{"WAIT=1"},
			cluster: []object{service(1, 1, "False", "RevisionFailed", "Revision \"stock-service-example-v1\" failed: a | b\nexit 1", allV1...)},
			code:    2,
			stderr:  listed + "Service stock-service-example in namespace default is not Ready after 1 s: RevisionFailed: Revision \"stock-service-example-v1\" failed: a | b\nexit 1\n",
		},
		{
			name: "what it waits for is told after 3 s", env: []string{"WAIT=5"},
			cluster: []object{service(1, 1, "False", "RevisionMissing", "of the apply before", allV1...)},
			code:    2,
			stderr: "run-test.sh: waiting for Service stock-service-example in namespace default: RevisionMissing: of the apply before\n" +
				listed + "Service stock-service-example in namespace default is not Ready after 5 s: RevisionMissing: of the apply before\n",
		},
		{
			name: "no such tag", script: "latest-run-test.sh",
			cluster: []object{readyService(allV1...)},
			code:    2,
			stderr:  "Service stock-service-example in namespace default has no tag latest: apply a file that gives it one\n",
		},
		{
			name: "a tag with DOMAIN_NAME", script: "latest-run-test.sh", args: "4", env: []string{"GATEWAY=GATEWAY", "DOMAIN_NAME=localhost"},
			code:   2,
			stderr: "the tag latest has a host of its own: unset DOMAIN_NAME, or set it to that and leave out --tag\n",
		},
		{
			name: "no such Service", env: []string{"SVC_NAME=nope"},
			code:   2,
			stderr: `kubectl cannot get Service nope in namespace default: Error from server (NotFound): services.serving.knative.dev "nope" not found` + "\n",
		},
	}
	for _, kubectl := range kubectls(t) {
		for _, tt := range tests {
			t.Run(kubectl.name+"/"+tt.name, func(t *testing.T) {
				t.Parallel()
				path := "/"
				if _, after, ok := strings.Cut(tt.args, "--path "); ok {
					path = after
				}
				gateway := httptest.NewServer(tt.answers.handler(t, cmp.Or(tt.host, routeHost), path))
				defer gateway.Close()
				address := gateway.Listener.Addr().(*net.TCPAddr)
				c := &cluster{states: tt.cluster, services: []object{gatewayService(address.Port)}, nodes: []object{node("127.0.0.1")}}
				var env []string
				for _, e := range tt.env {
					env = append(env, strings.ReplaceAll(e, "=GATEWAY", "="+address.String()))
					env[len(env)-1] = strings.ReplaceAll(env[len(env)-1], "//GATEWAY", "//"+address.String())
				}
				got := runScript(t, kubectl, c, "./"+cmp.Or(tt.script, "run-test.sh"), strings.Fields(tt.args), env)
				got.stdout = strings.ReplaceAll(got.stdout, address.String(), "GATEWAY")
				got.stderr = listing.ReplaceAllString(cutShort.ReplaceAllString(got.stderr, "CUT"), listed)
				if want := (result{tt.code, tt.stdout, said(tt.stderr)}); got != want {
					t.Errorf("got\n%v\nwant\n%v", got, want)
				}
			})
		}
	}
}

// listed stands for what kubectl prints of the Service's revisions and pods.
const listed = "LISTED\n"

var (
	listing = regexp.MustCompile(`(?m)^((NAME|Warning|revision|stock-service-example-v1).*\n|\n)+(NAME.*\n)?(pod.*/)?stock-service-example-v1-deployment-1.*\n`)
	// curl has other words for it since 8.13
	cutShort = regexp.MustCompile(`transfer closed|end of response`)
)

// said puts the script's name before what it says, and a line before each
// further of its complaints.
func said(text string) string {
	if before, after, ok := strings.Cut(text, listed); ok {
		return before + listed + "run-test.sh: " + after
	}
	var out strings.Builder
	for line := range strings.Lines(text) {
		out.WriteString("run-test.sh: " + line)
	}
	return out.String()
}

// sameState is a state that is seen n times.
func sameState(n int, state object) (states []object) {
	for range n {
		states = append(states, state)
	}
	return states
}

func TestScriptFindsGateway(t *testing.T) {
	noAddress := func(port string) string {
		return "Service istio-ingressgateway in namespace istio-system has no address to reach it from here: " +
			`run "minikube tunnel", or "kubectl port-forward --namespace istio-system service/istio-ingressgateway 8081:` + port + `" and set GATEWAY=localhost:8081`
	}
	plain, https := readyService(split5050...), secured(readyService(split5050...))
	twice443, twice443At99 := gatewayService(31380), gatewayService(31380, "127.0.0.99")
	for _, gateway := range []object{twice443, twice443At99} {
		spec := gateway["spec"].(object)
		spec["ports"] = append(spec["ports"].([]any), object{"name": "h3", "port": 443, "nodePort": 31443, "protocol": "UDP"})
	}
	twice443At99["status"].(object)["loadBalancer"].(object)["ingress"].([]any)[0].(object)["hostname"] = "localhost"
	tests := []struct {
		name    string
		service object // the Knative one
		gateway object
		nodes   []object
		noNodes bool // the user may not list nodes
		env     []string
		through string // address that it sends to
		stderr  string // if it finds none
	}{
		{name: "GATEWAY", service: plain, gateway: gatewayService(31380, "127.0.0.99"), env: []string{"GATEWAY=127.0.0.97:1"}, through: "127.0.0.97:1"},
		{name: "the load balancer's IP", service: plain, gateway: gatewayService(31380, "127.0.0.99"), nodes: []object{node("127.0.0.98")}, through: "127.0.0.99:80"},
		{name: "with https, too", service: https, gateway: gatewayService(31380, "127.0.0.99"), through: "127.0.0.99:443"},
		{name: "its first IP", service: plain, gateway: gatewayService(31380, "127.0.0.99", "127.0.0.97"), through: "127.0.0.99:80"},
		{name: "its IPv6 address", service: plain, gateway: gatewayService(31380, "::1"), through: "[::1]:80"},
		{name: "its hostname", service: plain, gateway: gatewayService(31380, "localhost"), through: "localhost:80"},
		{name: "a node's address with the nodePort", service: plain, gateway: gatewayService(31380), nodes: []object{node("127.0.0.98"), node("127.0.0.97")}, through: "127.0.0.98:31380"},
		{name: "the nodePort for https", service: https, gateway: gatewayService(31380), nodes: []object{node("127.0.0.98")}, through: "127.0.0.98:31381"},
		{name: "a user who may not list nodes and need not", service: plain, gateway: gatewayService(31380, "127.0.0.99"), noNodes: true, through: "127.0.0.99:80"},
		{
			name: "a user who may not and must", service: plain, gateway: gatewayService(31380), noNodes: true,
			stderr: `kubectl cannot get a node's address: Error from server (Forbidden): nodes is forbidden: User "learner" cannot list resource "nodes"`,
		},
		{name: "a nodePort, and a node without an address", service: plain, gateway: gatewayService(31380), nodes: []object{node("")}, stderr: noAddress("80")},
		{name: "a second nodePort, as of HTTP/3", service: https, gateway: twice443, nodes: []object{node("127.0.0.98")}, through: "127.0.0.98:31381"},
		{name: "both, and an IP with a hostname", service: https, gateway: twice443At99, through: "127.0.0.99:443"},
		{name: "no nodePort", service: plain, gateway: gatewayService(0), nodes: []object{node("127.0.0.98")}, stderr: noAddress("80")},
		{name: "none for https", service: https, gateway: gatewayService(0), stderr: noAddress("443")},
		{
			name: "another gateway's Service", service: plain, gateway: gatewayService(31380), env: []string{"INGRESSGATEWAY=kourier"},
			stderr: `kubectl cannot get the gateway's Service kourier in namespace istio-system: Error from server (NotFound): services "kourier" not found`,
		},
		{
			name: "another namespace", service: plain, gateway: gatewayService(31380), env: []string{"INGRESS_NAMESPACE=elsewhere"},
			stderr: `kubectl cannot get the gateway's Service istio-ingressgateway in namespace elsewhere: Error from server (NotFound): services "istio-ingressgateway" not found`,
		},
	}
	for _, kubectl := range kubectls(t) {
		for _, tt := range tests {
			t.Run(kubectl.name+"/"+tt.name, func(t *testing.T) {
				t.Parallel()
				c := &cluster{states: []object{tt.service}, services: []object{tt.gateway}, nodes: tt.nodes, noNodesList: tt.noNodes}
				got := runScript(t, kubectl, c, "./run-test.sh", []string{"2"}, tt.env)
				if tt.through == "" {
					if want := (result{2, "", said(tt.stderr + "\n")}); got != want {
						t.Errorf("got\n%v\nwant\n%v", got, want)
					}
					return
				}
				first, _, _ := strings.Cut(got.stdout, "\n")
				if want := "2 requests to " + tt.service["status"].(object)["url"].(string) + "/ through " + tt.through; first != want {
					t.Errorf("got\n%v\nwant the first line\n%s", got, want)
				}
			})
		}
	}
}

// What it cannot try is told in one line, with 2.
func TestScriptRefuses(t *testing.T) {
	const n = "N is a number of requests from 1 to 99999, not "
	tests := []struct {
		args   []string
		env    string
		stderr string
	}{
		{[]string{""}, "", n + `"": -h explains`},
		{[]string{"0"}, "", n + `"0": -h explains`},
		{[]string{"-1"}, "", "there is no option -1: -h explains"},
		{[]string{"1.5"}, "", n + `"1.5": -h explains`},
		{[]string{"08"}, "", n + `"08": -h explains`},
		{[]string{" "}, "", n + `" ": -h explains`},
		{[]string{"1 2"}, "", n + `"1 2": -h explains`},
		{[]string{"1", "2"}, "", n + `"1 2": -h explains`},
		{[]string{"100000"}, "", n + `"100000": -h explains`},
		{[]string{"--tags", "v1"}, "", "there is no option --tags: -h explains"},
		{[]string{"--tag", "v1", "5", "--path"}, "", n + `"5 --path": -h explains`},
		{[]string{"--tag"}, "", `--tag is a tag of the Service's traffic, not "?": -h explains`},
		{[]string{"--tag", "a b"}, "", `--tag is a tag of the Service's traffic, not "a b": -h explains`},
		{[]string{"--path", "stock"}, "", `--path is a path that begins with / and has no spaces, brackets or braces, not "stock": -h explains`},
		{[]string{"--path", "/a b"}, "", `--path is a path that begins with / and has no spaces, brackets or braces, not "/a b": -h explains`},
		{[]string{"--path", "/[1-9]"}, "", `--path is a path that begins with / and has no spaces, brackets or braces, not "/[1-9]": -h explains`},
		{nil, "WAIT=5s", `WAIT is a number of seconds, not "5s": -h explains`},
		{nil, "WAIT=08", `WAIT is a number of seconds, not "08": -h explains`},
		{nil, "RATE=0", `RATE is a number of requests per second from 1 to 999, not "0": -h explains`},
		{nil, "GATEWAY=https://localhost", `GATEWAY is the gateway's host[:port], not "https://localhost": -h explains`},
		{nil, "GATEWAY=localhost/x", `GATEWAY is the gateway's host[:port], not "localhost/x": -h explains`},
		{nil, "GATEWAY=a\nb", "GATEWAY is the gateway's host[:port], not \"a\nb\": -h explains"},
		{nil, "DOMAIN_NAME=a\noutput=b", "DOMAIN_NAME is the route's host, not \"a\noutput=b\": -h explains"},
		{nil, "TMPDIR=/nowhere", "cannot make a folder with a pipe in /nowhere: set TMPDIR to another"},
	}
	for _, tt := range tests {
		t.Run(fmt.Sprintf("%q %s", tt.args, tt.env), func(t *testing.T) {
			got := runScript(t, kubectl{"stub", self(t)}, &cluster{}, "./run-test.sh", tt.args, []string{tt.env})
			got.stderr = regexp.MustCompile(`(?m)^mktemp: .*\n`).ReplaceAllString(got.stderr, "")
			if want := (result{2, "", "run-test.sh: " + tt.stderr + "\n"}); got != want {
				t.Errorf("got\n%v\nwant\n%v", got, want)
			}
		})
	}
}

func TestScriptMissesTools(t *testing.T) {
	const (
		newCurl  = "echo '     --rate <max request rate>'"
		oldCurl  = "echo '     --proxy <url>  Use this proxy'"
		tooFew   = "awk and curl must be installed, curl 7.84 or newer"
		noAsking = "kubectl is not installed; without it, set GATEWAY and DOMAIN_NAME"
	)
	tests := []struct {
		name   string
		has    map[string]string // programs, by their scripts
		env    []string
		stderr string
	}{
		{"no awk", map[string]string{"curl": newCurl}, nil, tooFew},
		{"no curl", map[string]string{"awk": ""}, nil, tooFew},
		{"an old curl", map[string]string{"awk": "", "curl": oldCurl}, []string{"GATEWAY=a", "DOMAIN_NAME=b"}, tooFew},
		{"no kubectl", map[string]string{"awk": "", "curl": newCurl}, nil, noAsking},
		{"no kubectl for GATEWAY alone", map[string]string{"awk": "", "curl": newCurl}, []string{"GATEWAY=localhost"}, noAsking},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			path := tools(t, "bash")
			for program, script := range tt.has {
				write(t, filepath.Join(path, program), "#!/bin/sh\n"+script+"\n")
			}
			got := runIn(t, path, "./run-test.sh", nil, tt.env)
			if want := (result{2, "", "run-test.sh: " + tt.stderr + "\n"}); got != want {
				t.Errorf("got\n%v\nwant\n%v", got, want)
			}
		})
	}
}

func TestScriptWithoutCluster(t *testing.T) {
	for _, kubectl := range kubectls(t) {
		t.Run(kubectl.name, func(t *testing.T) {
			got, _ := runAgainst(t, kubectl, "http://"+closedPort(t), "./run-test.sh", nil, nil)
			if got.code != 2 || got.stdout != "" || strings.Count(got.stderr, "\n") != 1 ||
				!strings.HasPrefix(got.stderr, "run-test.sh: kubectl cannot get Service stock-service-example in namespace default: The connection to the server ") {
				t.Errorf("got\n%v", got)
			}
			got = runScript(t, kubectl, &cluster{noKnative: true}, "./run-test.sh", nil, nil)
			if want := (result{2, "", `run-test.sh: kubectl cannot get Service stock-service-example in namespace default: error: the server doesn't have a resource type "ksvc"` + "\n"}); got != want {
				t.Errorf("got\n%v\nwant\n%v", got, want)
			}
		})
	}
}

// -h is the script's own first comment, and names each variable that it reads.
func TestScriptHelp(t *testing.T) {
	script, err := os.ReadFile("run-test.sh")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"./run-test.sh", "./latest-run-test.sh"} {
		got := runIn(t, tools(t, scriptTools...), name, []string{"-h"}, nil)
		if got.code != 0 || got.stderr != "" || !strings.HasPrefix(got.stdout, "Sends requests through the ingress gateway") {
			t.Errorf("%s -h: got\n%v", name, got)
		}
		for _, m := range regexp.MustCompile(`\b([A-Z_]+)=\$\{[A-Z_]+:-([\w-]*)\}`).FindAllStringSubmatch(string(script), -1) {
			if !strings.Contains(got.stdout, m[1]) || !strings.Contains(got.stdout, m[2]) {
				t.Errorf("%s -h does not say that %s is %q unless set", name, m[1], m[2])
			}
		}
	}
}

// The path to the script, a symbolic link to it and the folder that it is
// called from do not matter.
func TestLatestIsFoundFromAnywhere(t *testing.T) {
	gateway := answers{from("v3")}.gateway(t, "latest-"+routeHost)
	defer gateway.Close()
	server := httptest.NewServer(&cluster{states: []object{readyService(split5050...)}})
	defer server.Close()
	here, _ := os.Getwd()
	other := t.TempDir()
	link(t, filepath.Join(here, "latest-run-test.sh"), filepath.Join(other, "preview"))
	path := tools(t, scriptTools...)
	link(t, self(t), filepath.Join(path, "kubectl"))
	for _, script := range []string{"./preview", filepath.Join(here, "latest-run-test.sh")} {
		cmd := command(t, path, script, nil, []string{"STUB_SERVER=" + server.URL, "GATEWAY=" + gateway.Listener.Addr().String()})
		cmd.Dir = other
		if out, err := cmd.CombinedOutput(); err != nil || string(out) != "Welcome to the v3 app! \n" {
			t.Errorf("%s: %v\n%s", script, err, out)
		}
	}
}

func TestScriptCallsKubectlThrice(t *testing.T) {
	gateway := answers{from("v1"), from("v2")}.gateway(t, routeHost)
	defer gateway.Close()
	server := httptest.NewServer(&cluster{
		states:   []object{readyService(split5050...)},
		services: []object{gatewayService(gateway.Listener.Addr().(*net.TCPAddr).Port)},
		nodes:    []object{node("127.0.0.1")},
	})
	defer server.Close()
	got, calls := runAgainst(t, kubectls(t)[0], server.URL, "./run-test.sh", []string{"10"}, []string{"GATEWAY=" + gateway.Listener.Addr().String()})
	if got.code != 0 || calls != 2 { // the Service, and once more at the end
		t.Errorf("%d calls, want 2:\n%v", calls, got)
	}
}

// Time limits, on a gateway that accepts and is silent, on one that is gone,
// and on one that is slow in the middle.
func TestScriptGivesUp(t *testing.T) {
	gone := closedPort(t)
	tests := []struct {
		name    string
		answers answers // none: the gateway is gone
		n       string
		limit   time.Duration
		stderr  string
	}{
		{"gone", nil, "200", 2 * time.Second, `gave up after 5 of 200 requests
5 of 5 requests failed: no answer (Failed to connect to 127.0.0.1 port ` + strings.TrimPrefix(gone, "127.0.0.1:") + `: Couldn't connect to server)
set GATEWAY to an address that reaches the gateway from here
`},
		{"silence", answers{from("v1").going(silent)}, "200", 20 * time.Second, `gave up after 2 of 200 requests
2 of 2 requests failed: no answer (Operation timed out)
set GATEWAY to an address that reaches the gateway from here
`},
		{"bodies that stall", answers{from("v1").going(stalled)}, "200", 20 * time.Second, `gave up after 2 of 200 requests
2 of 2 requests failed: an answer cut short (Operation timed out) from stock-service-example-v1
`},
		{"one body that stalls", answers{from("v1"), from("v1"), from("v1").going(stalled), from("v1")}, "4", 12 * time.Second,
			"1 of 4 requests failed: an answer cut short (Operation timed out) from stock-service-example-v1\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			address := gone
			if tt.answers != nil {
				gateway := tt.answers.gateway(t, "localhost")
				defer gateway.Close()
				address = gateway.Listener.Addr().String()
			}
			start := time.Now()
			got := runScript(t, kubectl{}, &cluster{}, "./run-test.sh", []string{tt.n}, []string{"DOMAIN_NAME=localhost", "GATEWAY=" + address})
			if took := time.Since(start); took > tt.limit {
				t.Errorf("took %v, want at most %v", took, tt.limit)
			}
			// since curl 8.9: "Could not connect"
			got.stderr = strings.ReplaceAll(got.stderr, "Could not connect", "Couldn't connect")
			if got.code != 1 || got.stderr != said(tt.stderr) {
				t.Errorf("got\n%v\nwant on standard error\n%s", got, said(tt.stderr))
			}
			noneLeft(t, address)
		})
	}
}

// noneLeft fails if a curl for the address still runs.
func noneLeft(t *testing.T, address string) {
	t.Helper()
	out, err := exec.Command("sh", "-c", "grep -al -e '--connect-to' /proc/[0-9]*/cmdline 2>/dev/null | while read -r f; do tr '\\0' ' ' <$f; echo; done").Output()
	if runtime.GOOS == "linux" && err == nil && strings.Contains(string(out), "::"+address) {
		t.Errorf("a process is left:\n%s", out)
	}
}

func closedPort(t *testing.T) string {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().String()
}

// A signal ends the requests; what was answered is shown all the same.
func TestScriptIsInterrupted(t *testing.T) {
	for sig, code := range map[syscall.Signal]int{syscall.SIGINT: 130, syscall.SIGTERM: 143, syscall.SIGHUP: 129} {
		t.Run(sig.String(), func(t *testing.T) {
			skipIfIgnored(t, sig)
			var seen atomic.Int64
			var all answers = times(10, from("v1"), from("v2"))
			inner := append(all, from("v1").going(silent)).handler(t, "localhost", "/")
			gateway := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				seen.Add(1)
				inner.ServeHTTP(w, r)
			}))
			defer gateway.Close()
			address := gateway.Listener.Addr().String()
			tmp := t.TempDir()
			cmd := command(t, tools(t, scriptTools...), "./run-test.sh", []string{"50"}, []string{"DOMAIN_NAME=localhost", "GATEWAY=" + address, "TMPDIR=" + tmp})
			cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
			var stdout, stderr strings.Builder
			cmd.Stdout, cmd.Stderr = &stdout, &stderr
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			for seen.Load() < 21 {
				time.Sleep(10 * time.Millisecond)
			}
			time.Sleep(100 * time.Millisecond)
			start, to := time.Now(), cmd.Process.Pid
			if sig == syscall.SIGINT {
				to = -to // as a terminal sends it
			}
			syscall.Kill(to, sig)
			time.Sleep(2 * time.Millisecond)
			syscall.Kill(to, sig) // as timeout(1) does
			cmd.Wait()
			if took := time.Since(start); took > time.Second {
				t.Errorf("took %v", took)
			}
			got := result{cmd.ProcessState.ExitCode(), stdout.String(), stderr.String()}
			want := result{code, "50 requests to http://localhost/ through " + address + `

REVISION                  OBSERVED  COUNT
stock-service-example-v1     50.0%     10  #####
stock-service-example-v2     50.0%     10  #####
`, "run-test.sh: interrupted after 20 of 50 requests\n"}
			if got != want {
				t.Errorf("got\n%v\nwant\n%v", got, want)
			}
			noneLeft(t, address)
			if left, _ := os.ReadDir(tmp); len(left) > 0 {
				t.Errorf("%v is left", left)
			}
		})
	}
}

// A client with a connection at hand would quietly ask again on another, were
// it to break; so would curl.
func TestScriptUsesNewConnections(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	var connections atomic.Int64
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			n := connections.Add(1)
			go func() { // keeps alive whatever the client says, and drops each second request
				defer conn.Close()
				requests := bufio.NewReader(conn)
				for i := n; ; i++ {
					if _, err := http.ReadRequest(requests); err != nil || i%2 == 0 {
						return
					}
					io.WriteString(conn, "HTTP/1.1 200 OK\r\nX-Revision: v1\r\nContent-Length: 2\r\n\r\nok")
				}
			}()
		}
	}()
	got := runScript(t, kubectl{}, &cluster{}, "./run-test.sh", []string{"20"}, []string{"DOMAIN_NAME=localhost", "GATEWAY=" + listener.Addr().String()})
	if want := "run-test.sh: 10 of 20 requests failed: no answer (Empty reply from server)\n"; got.code != 1 || got.stderr != want || connections.Load() != 20 {
		t.Errorf("%d connections, got\n%v\nwant 20, and on standard error\n%s", connections.Load(), got, want)
	}
}

// https asks the route's own name: the certificate, SNI and Host are its.
func TestScriptWithTLS(t *testing.T) {
	var serverName atomic.Value
	gateway := httptest.NewUnstartedServer(answers{from("v1")}.handler(t, "example.com", "/"))
	gateway.Config.ErrorLog = log.New(io.Discard, "", 0)
	gateway.StartTLS() // its certificate is for example.com
	defer gateway.Close()
	inner := gateway.Config.Handler
	gateway.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		serverName.Store(r.TLS.ServerName)
		inner.ServeHTTP(w, r)
	})
	state := secured(readyService(allV1...))
	state["status"].(object)["url"] = "https://example.com"
	port := gateway.Listener.Addr().(*net.TCPAddr).Port
	c := func() *cluster {
		return &cluster{states: []object{state}, services: []object{gatewayService(port - 1)}, nodes: []object{node("127.0.0.1")}}
	}
	bundle := filepath.Join(t.TempDir(), "ca.pem")
	write(t, bundle, pemOf(gateway.Certificate()))
	got := runScript(t, kubectls(t)[0], c(), "./run-test.sh", []string{"3"}, []string{"CURL_CA_BUNDLE=" + bundle})
	if got.code != 0 || serverName.Load() != "example.com" || !strings.HasPrefix(got.stdout, "3 requests to https://example.com/ through 127.0.0.1:") {
		t.Errorf("server name %v, got\n%v", serverName.Load(), got)
	}
	got = runScript(t, kubectls(t)[0], c(), "./run-test.sh", []string{"50"}, nil)
	if got.code != 1 || !strings.Contains(got.stderr, "5 of 5 requests failed: no answer (SSL certificate problem: ") ||
		!strings.HasSuffix(got.stderr, ")\nrun-test.sh: set CURL_CA_BUNDLE to a file of certificates to trust\n") {
		t.Errorf("got\n%v", got)
	}
}

// On a terminal the table grows in place, at most ten times a second.
func TestScriptGrowsTableOnTerminal(t *testing.T) {
	if _, err := exec.LookPath("script"); err != nil || runtime.GOOS != "linux" {
		t.Skip("no script(1) of util-linux to make a terminal with")
	}
	gateway := answers{from("v1"), from("v2"), from("v3-with-a-name-that-is-wider-than-the-terminal-and-goes-on-and-on"), from("v2")}.gateway(t, "localhost")
	defer gateway.Close()
	cmd := exec.Command("script", "-qec", "stty cols 80; ./run-test.sh 40", "/dev/null")
	cmd.Env = append(os.Environ(), "GATEWAY="+gateway.Listener.Addr().String(), "DOMAIN_NAME=localhost", "RATE=20", "TERM=xterm")
	start := time.Now()
	out, err := cmd.CombinedOutput()
	took := time.Since(start)
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	// each draws over the one before
	frames := strings.Split(string(out), "A\r")
	if n, most := len(frames)-1, int(10*took.Seconds())+1; n < 10 || n > most {
		t.Errorf("%d tables in %v, want 10 to %d", n, took, most)
	}
	for _, frame := range frames[1:] {
		for line := range strings.Lines(frame) {
			if row, _, _ := strings.Cut(line, "\x1b"); len(row) > 80 {
				t.Errorf("a row of %d columns on a terminal of 80: %s", len(row), row)
			}
		}
	}
	if last := frames[len(frames)-1]; !strings.Contains(last, "\nok: no request failed") {
		t.Errorf("it ends with\n%s", last)
	}
}

// TestScriptOnAwks tallies alike with each awk that is installed.
func TestScriptOnAwks(t *testing.T) {
	gateway := append(times(3, from("v1"), from("v2")), from("v3").with(500), from("v2").going(truncated)).gateway(t, routeHost)
	defer gateway.Close()
	want := ""
	for _, awk := range awks {
		t.Run(awk, func(t *testing.T) {
			path := toolsWith(t, awk)
			link(t, self(t), filepath.Join(path, "kubectl"))
			server := httptest.NewServer(&cluster{states: []object{readyService(split433...)}})
			defer server.Close()
			for _, locale := range locales() {
				got := runIn(t, path, "./run-test.sh", []string{"80"}, []string{"LC_ALL=" + locale, "STUB_SERVER=" + server.URL, "GATEWAY=" + gateway.Listener.Addr().String()})
				if want == "" {
					want = got.String()
				}
				if got.code != 1 || got.String() != want || !strings.Contains(want, "10 of 80 requests failed: status 500 from stock-service-example-v3\n") {
					t.Errorf("%s: got\n%v\nwant\n%s", locale, got, want)
				}
			}
		})
	}
}

var awks = []string{"awk", "mawk", "gawk", "original-awk", "busybox awk"}

// toolsWith returns a folder with the scripts' tools, and that awk.
func toolsWith(t *testing.T, awk string) string {
	name, _, _ := strings.Cut(awk, " ")
	if _, err := exec.LookPath(name); err != nil {
		t.Skip("not installed")
	}
	path := tools(t, append(scriptTools[1:], name)...)
	if name != "awk" {
		write(t, filepath.Join(path, "awk"), "#!/bin/sh\nexec "+awk+" \"$@\"\n")
	}
	return path
}

// An awk that reads ahead would see an answer long after it came.
func TestScriptSeesEachAnswerAtOnce(t *testing.T) {
	for _, awk := range awks {
		t.Run(awk, func(t *testing.T) {
			t.Parallel()
			path := toolsWith(t, awk)
			gateway := answers{from("v1").going(noAnswer)}.gateway(t, "localhost")
			defer gateway.Close()
			start := time.Now()
			got := runIn(t, path, "./run-test.sh", []string{"50"}, []string{"RATE=2", "DOMAIN_NAME=localhost", "GATEWAY=" + gateway.Listener.Addr().String()})
			if took := time.Since(start); took > 6*time.Second || got.code != 1 || !strings.HasPrefix(got.stderr, "run-test.sh: gave up after 5 of 50 requests\n") {
				t.Errorf("after %v got\n%v", took, got)
			}
		})
	}
}

// locales are one with a decimal point and, where it is installed, one with a
// decimal comma.
func locales() []string {
	installed, _ := exec.Command("locale", "-a").Output()
	if strings.Contains(string(installed), "de_DE.utf8") {
		return []string{"C", "de_DE.utf8"}
	}
	return []string{"C"}
}

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

// A gateway of endless names fills neither the terminal nor the memory.
func TestScriptBoundsItsTable(t *testing.T) {
	var all answers
	for i := range 60 {
		all = append(all, from(fmt.Sprint("v", i+1)))
	}
	gateway := all.gateway(t, "localhost")
	defer gateway.Close()
	got := runScript(t, kubectl{}, &cluster{}, "./run-test.sh", []string{"60"}, []string{"DOMAIN_NAME=localhost", "GATEWAY=" + gateway.Listener.Addr().String()})
	if rows := strings.Count(got.stdout, "%"); rows != 21 || !strings.Contains(got.stdout, "\nothers                        66.7%     40  ") {
		t.Errorf("%d rows, got\n%v", rows, got)
	}
}

// The README's table has every message of the script, by the words between
// what it fills in.
func TestReadmeHasEveryMessage(t *testing.T) {
	script, err := os.ReadFile("run-test.sh")
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, ok := strings.Cut(string(text), "\n## What the scripts say\n")
	table, _, _ = strings.Cut(table, "\n## ")
	if !ok {
		t.Fatal("the README has no such table")
	}
	says := regexp.MustCompile(`\bdie |\bsay |\bcomplain\(|\bwhat = "|\bcure = `)
	literal := regexp.MustCompile(`"((?:[^"\\]|\\.)*)"`)
	called := regexp.MustCompile(`\$\([^)]*\)`)
	filledIn := regexp.MustCompile(`\$\{[^}]*\}|\$\w+|%[sd]|%%|\\"|\\n`)
	checked := 0
	for line := range strings.Lines(string(script)) {
		line = called.ReplaceAllString(line, "")
		place := says.FindStringIndex(line)
		if place == nil {
			continue
		}
		for _, m := range literal.FindAllStringSubmatch(line[place[0]:], -1) {
			for _, words := range filledIn.Split(m[1], -1) {
				words = strings.Trim(words, " (")
				if len(words) < 10 {
					continue
				}
				checked++
				if !strings.Contains(table, words) {
					t.Errorf("the table does not have %q", words)
				}
			}
		}
	}
	if checked < 20 {
		t.Errorf("only %d messages found", checked)
	}
}

// A signal ends the script and its kubectl, before the requests and after them.
func TestScriptIsInterruptedWhileItAsks(t *testing.T) {
	for sig, code := range map[syscall.Signal]int{syscall.SIGINT: 130, syscall.SIGTERM: 143} {
		for hangs, stderr := range map[int]string{1: "", 2: "run-test.sh: the Service was edited meanwhile, or kubectl no longer gets it: the shares are not judged\n"} {
			t.Run(fmt.Sprint(sig, " at question ", hangs), func(t *testing.T) {
				skipIfIgnored(t, sig)
				gateway := answers{from("v1")}.gateway(t, routeHost)
				defer gateway.Close()
				asked, left := make(chan struct{}, 1), make(chan struct{}, 1)
				cluster := &cluster{states: []object{readyService(allV1...)}}
				gets := 0
				server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					if strings.HasSuffix(r.URL.Path, "/services/stock-service-example") {
						gets++
					}
					if gets < hangs {
						cluster.ServeHTTP(w, r)
						return
					}
					asked <- struct{}{}
					<-r.Context().Done()
					left <- struct{}{}
				}))
				defer server.Close()
				path := tools(t, scriptTools...)
				link(t, self(t), filepath.Join(path, "kubectl"))
				cmd := command(t, path, "./run-test.sh", []string{"2"}, []string{"STUB_SERVER=" + server.URL, "GATEWAY=" + gateway.Listener.Addr().String()})
				var out strings.Builder
				cmd.Stderr = &out
				if err := cmd.Start(); err != nil {
					t.Fatal(err)
				}
				<-asked
				start := time.Now()
				cmd.Process.Signal(sig)
				cmd.Wait()
				if took := time.Since(start); took > time.Second {
					t.Errorf("took %v", took)
				}
				said := strings.ReplaceAll(out.String(), "Warning: this is no reason to fail\n", "")
				if got := cmd.ProcessState.ExitCode(); got != code || said != stderr {
					t.Errorf("exit status %d, want %d:\n%s", got, code, said)
				}
				select {
				case <-left:
				case <-time.After(5 * time.Second):
					t.Error("kubectl still asks")
				}
			})
		}
	}
}

// skipIfIgnored skips what a shell cannot trap: a signal that is ignored when
// it starts, as nohup and & have it.
func skipIfIgnored(t *testing.T, sig os.Signal) {
	if signal.Ignored(sig) {
		t.Skip(sig, " is ignored here")
	}
}
