package test

import (
	"cmp"
	"net"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
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

ok: no request failed, and each share fits its percentage
with 100 requests, 30.0% to 70.0% pass for 50%, and failures of one in 22 show 99 times in 100
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

ok: no request failed, and each share fits its percentage
with 10 requests, 0.0% to 100.0% pass for 40%, and 0.0% to 90.0% pass for 30%, and failures of one in 2 show 99 times in 100
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

ok: no request failed, and each share fits its percentage
with 4 requests, 0.0% to 100.0% pass for 50%, and failures of one in 1 show 99 times in 100
`,
		},
		{
			name: "at a tag one revision has all", script: "latest-run-test.sh", args: "20",
			cluster: []object{readyService(split5050...)},
			answers: answers{from("v3")}, host: "latest-" + routeHost,
			stdout: "20" + toLatest +
				`REVISION                  TAG     EXPECTED  OBSERVED  COUNT
stock-service-example-v3  latest      100%    100.0%     20  ##########

ok: no request failed, and each share fits its percentage
with 20 requests, failures of one in 4 show 99 times in 100
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

ok: no request failed; no percentages were given
with 4 requests, failures of one in 1 show 99 times in 100
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

ok: no request failed, and each share fits its percentage
with 2 requests, 0.0% to 100.0% pass for 50%, and failures of one in 1 show 99 times in 100
`,
		},
		{
			name: "and without a cluster too", args: "2", env: []string{"GATEWAY=GATEWAY", "DOMAIN_NAME=localhost"},
			answers: answers{old("v1"), {status: 200, text: "Hello v2\nof v1"}}, host: "localhost",
			stdout: "2" + toLocal +
				`REVISION                   OBSERVED  COUNT
"Hello v2"                    50.0%      1  #####
"Welcome to the v1 app! "     50.0%      1  #####

ok: no request failed; no percentages were given
with 2 requests, failures of one in 1 show 99 times in 100
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

ok: no request failed, and each share fits its percentage
with 2 requests, failures of one in 1 show 99 times in 100
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
			stderr: `stock-service-example-v3 got 1 of 100, and chance explains 0 to 0 for 0%
stock-service-example-v9 got 1 of 100, and chance explains 0 to 0 for 0%
`,
		},
		{
			name: "another revision at a tag", script: "latest-run-test.sh",
			cluster: []object{readyService(split5050...)},
			answers: answers{from("v1")}, host: "latest-" + routeHost,
			code:   1,
			stdout: "Welcome to the v1 app! \n",
			stderr: `stock-service-example-v1 got 1 of 1, and chance explains 0 to 0 for 0%
stock-service-example-v3 got 0 of 1, and chance explains 1 to 1 for 100%
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
			stderr: `stock-service-example-v1 got 1 of 2, and chance explains 2 to 2 for 100%
stock-service-example-v?2 got 1 of 2, and chance explains 0 to 0 for 0%
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
stock-service-example-v1 got 1 of 2, and chance explains 2 to 2 for 100%
stock-service-example-v2 got 1 of 2, and chance explains 0 to 0 for 0%
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

ok: no request failed, and each share fits its percentage
with 100 requests, 30.0% to 70.0% pass for 50%, and failures of one in 22 show 99 times in 100
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
			stderr: `stock-service-example-v1 got 71 of 100, and chance explains 30 to 70 for 50%
stock-service-example-v2 got 29 of 100, and chance explains 30 to 70 for 50%
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

ok: no request failed, and each share fits its percentage
with 2 requests, 0.0% to 100.0% pass for 29%, and 0.0% to 100.0% pass for 71%, and failures of one in 1 show 99 times in 100
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

ok: no request failed, and each share fits its percentage
with 2 requests, 0.0% to 100.0% pass for 50%, and failures of one in 1 show 99 times in 100
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
			stderr: "the Service changed meanwhile: the shares are not judged\n",
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
			stderr: "the Service changed meanwhile: the shares are not judged\n",
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
			stderr: "the tag latest has a host of its own: set DOMAIN_NAME to it, without --tag\n",
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
