package test

import (
	"cmp"
	"net"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

const (
	half   = "v1,v1,50 v2,v2,50 @latest,latest,0"
	halves = `REVISION  TAG     EXPECTED  OBSERVED  COUNT
v1        v1           50%     50.0%     10  #####
v2        v2           50%     50.0%     10  #####
v3        latest        0%      0.0%      0
`
	fits = `
ok: no request failed, and each share fits its percentage: 5% to 95% passes for 50%
`
	only1 = `REVISION  TAG  EXPECTED  OBSERVED  COUNT
v1                 100%    100.0% …  ##########
`
	fits1 = `
ok: no request failed, and each share fits its percentage
`
	notJudged = "the shares are not judged, since Service stock-service-example in namespace default is not as its spec asks: "
	edited    = "the Service has changed: the shares are not judged\n"
	moving    = "a gradual rollout is in progress: the shares are not judged\n"
)

var both = answers{from("v1"), from("v2")}

// What the scripts show.
var shows = []run{
	{name: "one request prints its answer, to the byte", cluster: serving(ksvc{spec: half}),
		answers: answers{{status: 200, revision: "v1", text: "\n\na|b \\n"}}, out: "\n\na|b \\n"},
	{name: "more show the split", args: "20", cluster: serving(ksvc{spec: half}), answers: both, out: halves + fits},
	{name: "at a tag one revision has all", script: "latest-run-test.sh", args: "20", cluster: serving(ksvc{spec: half}), answers: answers{from("v3")},
		host: "latest-" + routeHost, out: `REVISION  TAG     EXPECTED  OBSERVED  COUNT
v3        latest      100%    100.0%     20  ##########
` + fits1},
	{name: "any tag, any path", args: "--tag v2 --path /stock/AAPL?x=1", cluster: serving(ksvc{spec: half}), answers: answers{from("v2")},
		host: "v2-" + routeHost, out: "Welcome to the v2 app! \n"},
}

func TestScriptsShow(t *testing.T) { check(t, shows) }

// kubectl itself prints what its stub does.
func TestScriptsWithKubectlItself(t *testing.T) {
	path, err := exec.LookPath("kubectl")
	if err != nil {
		t.Skip("kubectl is not installed")
	}
	broken := run{name: "a revision that cannot start", args: "20 --wait 0", code: 1,
		cluster: &cluster{states: []ksvc{{spec: "v1,,50 v2,,50 @latest,latest,0", status: "v1,,50 v2,,50 v2,latest,0", ready: "Unknown"}}, pods: "ImagePullBackOff Back-off"},
		answers: both, out: "…\nv1 …\nv2 …\n", err: notJudged + "v3 is not ready: ImagePullBackOff Back-off\n"}
	for _, r := range append(shows, broken) {
		if got := r.start(t, kubectl{"kubectl", path}); got.code != r.code || !like(r.out, got.stdout) || !like(r.err, got.stderr) {
			t.Errorf("%s: got\n%v\nwant\n%s%s", r.name, got, r.out, r.err)
		}
	}
}

func TestScriptsWithoutCluster(t *testing.T) {
	check(t, []run{
		{name: "nothing is expected", args: "4", answers: times(2, both...), host: "localhost", out: "…\nv1 …\nv2 …\n\nok: no request failed; no percentages were given\n"},
		{name: "but what --expect gives", args: "--expect v1=50,stock-service-example-v2=50 20", answers: answers{from("stock-service-example-v1"), from("v2")}, host: "localhost",
			out: `REVISION  EXPECTED  OBSERVED  COUNT
v1             50%     50.0%     10  #####
v2             50%     50.0%     10  #####
` + fits2},
		{name: "a host in capitals is sent in small letters", env: []string{"DOMAIN_NAME=Stocks.Example.org"}, answers: both, host: "stocks.example.org", out: "Welcome to the v1 app! \n"},
		{name: "options behind -- are curl's", args: "--path /x -- --header @internal/../LICENSE --request POST", answers: both, host: "localhost", out: "Welcome to the v1 app! \n"},
		{name: "more requests than asked for, where a percentage needs them", args: "--enough --expect v1=90,v2=10 5",
			answers: append(times(9, from("v1")), from("v2")), host: "localhost", out: "…\nv1 …  91 …\nv2 …  10 …\n\nok: …\n"},
		{name: "a rate", args: "--rate 40 --parallel 3 20", answers: both, host: "localhost", out: "…\nv1 …\nv2 …\n\nok: …\n"},
		{name: "names that others export do not matter", host: "localhost", answers: both, out: "Welcome to the v1 app! \n",
			env: []string{"HOST=x", "TAG=v2", "N=5", "RATE=x", "WAIT=x", "http_proxy=http://127.0.0.1:1", "all_proxy=http://127.0.0.1:1", "CURL_HOME=/"}},
	})
}

// What it cannot try is told in one line, with 2, and nothing is sent.
func TestScriptRefuses(t *testing.T) {
	const n, see = "--requests is a whole number from 1 to 99999, not ", ": see --help"
	for _, tt := range []struct{ args, env, stderr string }{
		{"0", "", n + `"0"` + see}, {"1.5", "", n + `"1.5"` + see}, {"08", "", n + `"08"` + see}, {"100000", "", n + `"100000"` + see},
		{"1 2", "", "the number of requests is 1, and then 2" + see},
		{"-1", "", "there is no option -1" + see},
		{"--wihtin 3", "", "there is no option --wihtin" + see},
		{"5 --tag", "", `--tag is a name, not ""` + see},
		{"--path stock", "", `--path is a path that begins with / and has no spaces, brackets or braces, not "stock"` + see},
		{"--path /[1-9]", "", `--path is a path that begins with / and has no spaces, brackets or braces, not "/[1-9]"` + see},
		{"--timeout 5m", "", `--timeout is a number of seconds, as 30 or 0.5, not "5m"` + see},
		{"--timeout 0", "", `--timeout is a number of seconds, as 30 or 0.5, not "0"` + see},
		{"--within 0,5", "", `--within is a number of seconds, as 30 or 0.5, not "0,5"` + see},
		{"--wait 08", "", `--wait is a number of seconds, as 60, not "08"` + see},
		{"--rate 0.5", "", `--rate is a whole number from 1 to 99999, not "0.5"` + see},
		{"--parallel 201", "", `--parallel is a whole number from 1 to 200, not "201"` + see},
		{"--allow 100.5", "", `--allow is a percentage, as 1 or 0.1, not "100.5"` + see},
		{"--expect v1", "", `--expect is a list as v1=40,v2=60, not "v1"` + see},
		{"--expect =100", "", `--expect is a list as v1=40,v2=60, not "=100"` + see},
		{"--expect v1=50;v2=50", "", `--expect is a list as v1=40,v2=60, not "v1=50;v2=50"` + see},
		{"--expect v1=-5,v2=105", "", `--expect is a list as v1=40,v2=60, not "v1=-5,v2=105"` + see},
		{"--expect v1=60,v2=60", "", "the percentages of --expect v1=60,v2=60 add up to 120" + see},
		{"--expect v1=100", "", "--expect is for no cluster: set GATEWAY and DOMAIN_NAME"},
		{"--tag x", "DOMAIN_NAME=localhost", "set DOMAIN_NAME to the tag's host (rehearsed: x.localhost), without --tag"},
		{"5", "TMPDIR=/nowhere", "…mktemp: …\nrun-test.sh: cannot make a folder there: set TMPDIR to another"},
	} {
		got := runAgainst(t, stub(t), "http://"+closedPort(t), "./run-test.sh", strings.Fields(tt.args), []string{tt.env})
		if got.code != 2 || got.stdout != "" || !like("run-test.sh: "+tt.stderr+"\n", got.stderr) && !like(tt.stderr+"\n", got.stderr) {
			t.Errorf("%s %s: got\n%v\nwant\n%s", tt.args, tt.env, got, tt.stderr)
		}
	}
	if got := runAgainst(t, stub(t), "", "./run-test.sh", []string{"5", "--", "--foo"}, []string{"GATEWAY=localhost", "DOMAIN_NAME=localhost"}); got.code != 2 ||
		got.stderr != "run-test.sh: curl 7.75 is needed, or 7.84 for --rate: curl: option --foo: is unknown\n" {
		t.Errorf("an option that curl does not know: got\n%v", got)
	}
	old := filepath.Join(t.TempDir(), "curl")
	write(t, old, "#!/bin/sh\necho \"curl: unknown --write-out variable: 'exitcode'\" >&2\n")
	cmd := command(t, stub(t), "", "./run-test.sh", nil, []string{"GATEWAY=localhost", "DOMAIN_NAME=localhost"})
	cmd.Env[0] = strings.Replace(cmd.Env[0], "PATH=", "PATH="+filepath.Dir(old)+":", 1)
	if got := finished(t, cmd); got.code != 2 || got.stderr != "run-test.sh: curl 7.75 is needed, or 7.84 for --rate: curl: unknown --write-out variable: 'exitcode'\n" {
		t.Errorf("with an old curl: got\n%v", got)
	}
	for _, shell := range []string{"dash", "zsh", "busybox sh"} {
		words := append(strings.Fields(shell), "run-test.sh", "20")
		out, err := exec.Command(words[0], words[1:]...).CombinedOutput()
		if _, missing := exec.LookPath(words[0]); missing == nil && (err == nil || string(out) != "run-test.sh needs bash: bash run-test.sh\n") {
			t.Errorf("%s: %v, and\n%s", shell, err, out)
		}
	}
}

// The Service before, while and after the requests are sent.
func TestScriptsWaitForService(t *testing.T) {
	before := ksvc{spec: "v1,,100", edited: 2}
	const pinned = "v1,,50 v2,,50"
	const split = `REVISION  TAG  EXPECTED  OBSERVED  COUNT
v1                  50%     50.0%     10  #####
v2                  50%     50.0%     10  #####
`
	const unknown = `REVISION  TAG  OBSERVED  COUNT
v1                50.0%     10  #####
v2                50.0%     10  #####
`
	check(t, []run{
		{name: "until the last apply is taken up", args: "20", cluster: serving(
			ksvc{spec: half, status: "v1,,100", edited: 2, seen: 1},
			ksvc{spec: half, status: "v1,,100", edited: 2, ready: "Unknown OutOfDate"},
			ksvc{spec: half, status: "v1,,100", edited: 2, ready: "False RevisionMissing of the apply before"},
			ksvc{spec: half, status: "v1,,100", edited: 2}, // Knative says that it is done, for some milliseconds
			ksvc{spec: half, edited: 2}), answers:          both, out: halves + fits},
		{name: "a failure of some seconds is that of the apply before", answers: both, out: "Welcome to the v1 app! \n",
			cluster: serving(ksvc{spec: "v1,,100", ready: "False RevisionNameTaken x"}, ksvc{spec: "v1,,100", ready: "False RevisionNameTaken x"}, ksvc{spec: "v1,,100"})},
		{name: "a Service that is edited meanwhile is not judged", args: "20", cluster: serving(before, ksvc{spec: half, status: "v1,,100", edited: 3, seen: 2, ready: "Unknown"}),
			answers: answers{from("v1")}, code: 1, out: only1, err: edited},
		{name: "one whose Ready is Unknown for a moment is", args: "20", cluster: serving(before, ksvc{spec: "v1,,100", edited: 2, ready: "Unknown IngressNotConfigured"}),
			answers: answers{from("v1")}, out: only1 + fits1},
		{name: "so is one that kubectl cannot get for a moment", args: "20", answers: answers{from("v1")}, out: only1 + fits1,
			cluster: &cluster{states: []ksvc{before}, fault: func(n int, r *http.Request) bool { return n == 2 || n == 3 }}},
		{name: "but not any more", args: "20", answers: answers{from("v1")}, code: 1, out: only1,
			err:     "the shares are not judged, since kubectl cannot get Service stock-service-example in namespace default again: Error from server (InternalError): etcd is away\n",
			cluster: &cluster{states: []ksvc{before}, fault: func(n int, r *http.Request) bool { return n > 1 }}},
		{name: "kubectl's own words come first", env: []string{"SVC_NAME=nope"}, cluster: serving(before), code: 2,
			answers: both, err: "Error from server (NotFound): \"nope\" not found\nkubectl cannot get Service nope in namespace default\n"},
		{name: "no traffic and no route", args: "--wait 0", cluster: serving(ksvc{ready: "Unknown", url: "-", status: " "}), answers: both, code: 2,
			err: "Service stock-service-example in namespace default is not Ready after … s: v3 is not ready\n"},
		{name: "no such tag", script: "latest-run-test.sh", cluster: serving(before), answers: both, code: 2,
			err: "Service stock-service-example in namespace default has no tag latest: apply a file that gives it one\n"},
		{name: "the tag latest on an older revision", script: "latest-run-test.sh", cluster: serving(ksvc{spec: "v1,,100 v2,latest,0"}),
			answers: answers{from("v2")}, host: "latest-" + routeHost, code: 1, out: "Welcome to the v2 app! \n", err: "the tag latest is not at the latest revision, v3\n"},
		{name: "a latest revision that cannot start", args: "20 --wait 0", answers: both, code: 1, out: "…\nv1 …\nv2        v2,latest       50%     50.0%     10  #####\n",
			cluster: &cluster{states: []ksvc{{spec: half, status: "v1,v1,50 v2,v2,50 v2,latest,0", ready: "Unknown"}}, pods: "ImagePullBackOff Back-off pulling image"},
			err:     notJudged + "v3 is not ready: ImagePullBackOff Back-off pulling image\n"},
		{name: "one that has no part in the traffic", args: "20 --wait 0", answers: both, out: split + fits2,
			cluster: serving(ksvc{spec: pinned, ready: "False RevisionFailed v3 failed: | exit 1", routes: "True"}),
			err:     "the route is as its spec asks, but Service stock-service-example in namespace default is not Ready: RevisionFailed: v3 failed: | exit 1\n"},
		{name: "a split that the gateway has not confirmed", args: "20 --wait 0", answers: both, code: 1, out: unknown, cluster: serving(ksvc{spec: pinned, ready: "Unknown IngressNotConfigured x"}),
			err: notJudged + "IngressNotConfigured: x (the gateway has not confirmed it: look at the pods of net-istio, net-kourier or what yours has)\n"},
		{name: "a name that is taken, and no traffic at all", args: "20 --wait 0", answers: both, code: 1, out: unknown, cluster: serving(ksvc{spec: pinned, status: " ", ready: "False RevisionNameTaken x"}),
			err: notJudged + "RevisionNameTaken: x (no percentage moves until the template has a name of its own)\n"},
		{name: "a revision that is listed twice", args: "20 --wait 0", answers: both, code: 1, out: split, cluster: serving(ksvc{spec: "v1,,30 v1,,20 v2,,50", status: pinned, ready: "Unknown TrafficNotMigrated x"}),
			err: notJudged + "TrafficNotMigrated: x (list each revision once)\n"},
		{name: "another traffic than the spec's, in words", args: "1 --wait 0", answers: both, code: 1, out: "Welcome to the v1 app! \n", cluster: serving(ksvc{spec: half, status: "v1,,100"}),
			err: notJudged + "its route has 100% for v1, and its spec asks for 50% for v1 with the tag v1, 50% for v2 with the tag v2, 0% for v3 with the tag latest\n"},
		{name: "a gradual rollout is shown, and not judged", args: "20", answers: both, code: 1, err: moving,
			cluster: serving(ksvc{spec: "@latest,,100 @latest,latest,0", status: "v1,,60 v3,,40 v1,latest,60 v3,latest,40", ready: "Unknown RolloutInProgress x"}),
			out: `REVISION  TAG     EXPECTED  OBSERVED  COUNT
v1        latest       60%     50.0%     10  #####
v3        latest       40%      0.0%      0
v2                      0%     50.0%     10  #####
`},
		{name: "but where only the tag is rolled out, and the traffic is pinned", args: "20", answers: both, out: halves + fits,
			cluster: serving(ksvc{spec: half, status: "v1,v1,50 v2,v2,50 v2,latest,90 v3,latest,10", ready: "Unknown RolloutInProgress x"},
				ksvc{spec: half, status: "v1,v1,50 v2,v2,50 v2,latest,10 v3,latest,90", ready: "Unknown RolloutInProgress x"})},
		{name: "and at that tag, not", args: "20", script: "latest-run-test.sh", answers: answers{from("v3")}, host: "latest-" + routeHost, code: 1, err: moving,
			cluster: serving(ksvc{spec: half, status: "v1,v1,50 v2,v2,50 v2,latest,90 v3,latest,10", ready: "Unknown RolloutInProgress x"}),
			out: `REVISION  TAG     EXPECTED  OBSERVED  COUNT
v2        latest       90%      0.0%      0
v3        latest       10%    100.0%     20  ##########
`},
	})
}

const fits2 = "\nok: no request failed, and each share fits its percentage: 10% to 90% passes for 50%\n"

func TestScriptFindsGateway(t *testing.T) {
	const inside = "http://stock-service-example.default.svc.cluster.local"
	refused := closedPort(t)
	_, port, _ := net.SplitHostPort(refused)
	for _, tt := range []struct {
		name    string
		url     string // of the route
		gateway object
		env     string
		through string
		to      string
		err     string
	}{
		{name: "the load balancer's IP", gateway: gateway("127.0.0.99", "http2:80 https:443"), through: "127.0.0.99"},
		{name: "its IPv6 address", gateway: gateway("::1", "http2:80"), through: "[::1]"},
		{name: "its hostname", gateway: gateway("localhost", "http2:80"), through: "localhost"},
		{name: "a port of its own, by its name", gateway: gateway("127.0.0.99", "status:15021 http2:8080 http:9090 https:8443"), through: "127.0.0.99:8080"},
		{name: "http, where there is no http2", gateway: gateway("127.0.0.99", "https:8443 http:9090"), through: "127.0.0.99:9090"},
		{name: "https of a route of https", url: "https://" + routeHost, gateway: gateway("127.0.0.99", "http2:8080 https:8443"), to: "https://" + routeHost, through: "127.0.0.99:8443"},
		{name: "its first address that can be connected to", gateway: gateway("127.0.0.1 localhost", "http2:"+port), through: "localhost:" + port},
		{name: "GATEWAY", env: "GATEWAY=127.0.0.97:1", through: "127.0.0.97:1"},
		{name: "GATEWAY as a URL", env: "GATEWAY=https://127.0.0.97:1/", to: "https://" + routeHost, through: "127.0.0.97:1"},
		{name: "GATEWAY as an IPv6 address", env: "GATEWAY=::1", through: "[::1]"},
		{name: "a host of one's own", env: "DOMAIN_NAME=stocks.example.org", gateway: gateway("127.0.0.99", "http2:80"), to: "http://stocks.example.org", through: "127.0.0.99"},
		{name: "a route inside the cluster, by GATEWAY", url: inside, env: "GATEWAY=127.0.0.97:1", to: inside, through: "127.0.0.97:1"},
		{name: "or from a pod", url: inside, env: "KUBERNETES_SERVICE_HOST=10.0.0.1", to: inside, through: "stock-service-example.default.svc.cluster.local"},
		{name: "or not", url: inside, err: "http://stock-service-example.default.svc.cluster.local is for the inside of the cluster: start this in a pod, or set GATEWAY to the gateway for the inside (knative-local-gateway of Istio, kourier-internal of Kourier)\n"},
		{name: "no address", gateway: gateway("", "http2:80"), err: "Service istio-ingressgateway in namespace istio-system has no load balancer: run \"minikube tunnel\", or set GATEWAY to node:nodePort or to " +
			"http://localhost:8081 for \"kubectl port-forward -n istio-system service/istio-ingressgateway 8081:80\"\n"},
		{name: "another gateway's Service", env: "INGRESSGATEWAY=another", err: "Error from server (NotFound): \"another\" not found\n" +
			"run-test.sh: kubectl cannot get the gateway's Service another in namespace istio-system (of Kourier: INGRESSGATEWAY=kourier INGRESS_NAMESPACE=kourier-system)\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			api := httptest.NewServer(&cluster{states: []ksvc{{spec: half, url: tt.url}}, gateway: tt.gateway})
			defer api.Close()
			got := runAgainst(t, stub(t), api.URL, "./run-test.sh", []string{"2"}, []string{tt.env})
			if tt.err != "" {
				if got.code != 2 || got.stdout != "" || strings.TrimPrefix(got.stderr, "run-test.sh: ") != tt.err {
					t.Errorf("got\n%v\nwant\n%s", got, tt.err)
				}
				return
			}
			first, _, _ := strings.Cut(got.stdout, "\n")
			if want := "2 requests to " + cmp.Or(tt.to, "http://"+routeHost) + "/ through " + tt.through; first != want {
				t.Errorf("got\n%v\nwant the first line\n%s", got, want)
			}
			if set := strings.HasPrefix(tt.env, "GATEWAY=") || tt.url == inside; set != strings.Contains(got.stderr, "set GATEWAY to an address") && !strings.Contains(got.stderr, "pods") {
				t.Errorf("got\n%v\nwant advice", got)
			}
		})
	}
}
