package test

import (
	"cmp"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"strings"
	"testing"
	"time"
)

const (
	pinned  = "v1,,50 v2,,50"
	half    = "v1,v1,50 v2,v2,50 @latest,latest,0"
	halves  = "…\nv1        v1           50%     50.0%     10  #####\nv2 …\nv3        latest        0%      0.0%      0\n\nok: …\n"
	split   = "…\nv1                  50%     50.0%     10  #####\nv2                  50%     50.0%     10  #####\n"
	only1   = "…\nv1                 100%    100.0% …  ##########\n"
	fits1   = "\nok: no request failed, and each share fits its percentage\n"
	welcome = "Welcome to the v1 app! \n"
	service = "Service stock-service-example in namespace default"
	notAsIs = "the shares are not judged, since " + service + " is not as its spec asks: "
	edited  = "the Service has changed: the shares are not judged\n"
	moving  = "a gradual rollout is in progress: the shares are not judged\n"
)

var (
	both   = answers{from("v1"), from("v2")}
	broken = &cluster{states: []ksvc{{spec: half, status: "v1,v1,50 v2,v2,50 v2,latest,0", ready: "Unknown"}}, pods: "ImagePullBackOff Back-off pulling image"}
)

// What the scripts show. kubectl itself prints what its stub does.
func TestScriptsShow(t *testing.T) {
	shows := []run{
		{name: "one request prints its answer, to the byte", cluster: serving(ksvc{spec: half}), answers: answers{{revision: "v1", text: "\n\na|b \\n"}}, out: "\n\na|b \\n"},
		{name: "more show the split", args: "--context c 20", cluster: serving(ksvc{spec: half}), answers: both, out: halves},
		{name: "at a tag one revision has all", script: "latest-run-test.sh", args: "--path /stock/AAPL?x=1 20", cluster: serving(ksvc{spec: half}),
			answers: answers{from("v3")}, host: "latest-" + routeHost, out: "…\nv3        latest      100%    100.0%     20  ##########\n" + fits1},
		{name: "a latest revision that cannot start", args: "20 --wait 0", answers: both, code: 1, cluster: broken,
			out: "…\nv1 …\nv2        v2,latest       50%     50.0%     10  #####\n", err: notAsIs + "v3 is not ready: ImagePullBackOff Back-off pulling image\n"},
	}
	check(t, shows)
	if path, err := exec.LookPath("kubectl"); err == nil {
		for _, r := range shows {
			r.check(t, kubectl{"kubectl", path})
		}
	}
}

func TestScriptsWithoutCluster(t *testing.T) {
	check(t, []run{
		{name: "nothing is expected", args: "--revision-header K-Revision 4", answers: answers{{revision: "v1", header: "K-Revision"}}, out: "…\nv1 …\n\nok: no request failed; no percentages were given\n"},
		{name: "but what --expect gives", args: "--expect v1=50,stock-service-example-v2=50 --failures-of stock-service-example-v2 20",
			answers: answers{{revision: "stock-service-example-v1", status: 500}, from("v2")}, err: "10 of 20 requests failed: status 500 from v1, which does not count\n",
			out: "REVISION  EXPECTED  OBSERVED  COUNT  FAILED\nv1             50%     50.0%     10      10  #####\nv2             50%     50.0%     10       0  #####\n\nok: …\n"},
		{name: "a host in capitals is sent in small letters", env: []string{"DOMAIN_NAME=Stocks.Example.org"}, answers: both, host: "stocks.example.org", out: welcome},
		{name: "more requests than asked for, where a percentage needs them", args: "--enough --expect v1=90,v2=10 5",
			answers: append(times(9, from("v1")), from("v2")), out: "…\nv1 …  91 …\nv2 …  10 …\n\nok: …\n"},
		{name: "names that others export do not matter", answers: both, out: welcome,
			env: []string{"HOST=x", "TAG=v2", "N=5", "RATE=x", "WAIT=x", "http_proxy=http://127.0.0.1:1", "all_proxy=http://127.0.0.1:1", "CURL_HOME=/"}},
		{name: "an answer is late", args: "--within 0.5 --allow 50 --parallel 1 4", answers: append(times(3, from("v1")), answer{revision: "v1", wait: 2 * time.Second}),
			out: "…\nv1 …\n\nok: no more failed than 50% explains; …\n", err: "1 of 4 requests failed: took longer than 0.5 s from v1\n"},
	})
}

// What it cannot try is told in one line, with 2, and nothing is sent.
func TestScriptRefuses(t *testing.T) {
	refusals := []run{
		{args: "1 2", err: "the number of requests is 1, and then 2: see --help\n"},
		{args: "--wihtin 3", err: "there is no option --wihtin: see --help\n"},
		{args: "5 --tag", err: "--tag is a name, not \"\": see --help\n"},
		{args: "--expect v1=60,v2=60", err: "the percentages of --expect v1=60,v2=60 add up to 120: see --help\n"},
		{args: "--expect v1=100", env: []string{"DOMAIN_NAME="}, err: "--expect is for no cluster: set GATEWAY and DOMAIN_NAME\n"},
		{args: "--tag x", err: "set DOMAIN_NAME to the tag's host (rehearsed: x.localhost), without --tag\n"},
		{args: "5", env: []string{"TMPDIR=/nowhere"}, err: "mktemp: …\ncannot make a folder there: set TMPDIR to another\n"},
	}
	for option, values := range map[string]string{
		"--requests is a whole number from 1 to 99999": "0 1.5 08 100000",
		"--rate is a whole number from 1 to 99999":     "0.5",
		"--path is a path that begins with / and …":    "stock /[1-9] /{1}",
		"--timeout is a number of seconds, as …":       "5m 0",
		"--within is a number of seconds, as 30 or …":  "0,5",
		"--wait is a number of seconds, as 60":         "08",
		"--parallel is a whole number from 1 to 200":   "0 201",
		"--allow is a percentage, as …":                "100.5",
		"--expect is a list as v1=40,v2=60":            "v1 =100 v1=50;v2=50 v1=-5,v2=105",
	} {
		for value := range strings.FieldsSeq(values) {
			name, _, _ := strings.Cut(option, " ")
			refusals = append(refusals, run{args: name + " " + value, err: option + `, not "` + value + "\": see --help\n"})
		}
	}
	for i := range refusals {
		refusals[i].name, refusals[i].code = refusals[i].args, 2
	}
	check(t, refusals)
	if out, err := exec.Command("dash", "run-test.sh", "20").CombinedOutput(); !errors.Is(err, exec.ErrNotFound) && string(out) != "run-test.sh needs bash: bash run-test.sh\n" {
		t.Errorf("in another shell: %v, and\n%s", err, out)
	}
}

// The Service before, while and after the requests are sent.
func TestScriptsWaitForService(t *testing.T) {
	before, v1 := ksvc{spec: "v1,,100", edited: 2}, answers{from("v1")}
	away := func(n int, r *http.Request) bool { return n > 1 }
	awayForShort := func(n int, r *http.Request) bool { return n == 2 || n == 3 }
	rolling := func(share, rest string) ksvc {
		return ksvc{spec: half, status: "v1,v1,50 v2,v2,50 v2,latest," + rest + " v3,latest," + share, ready: "Unknown RolloutInProgress x"}
	}
	runs := []run{
		{name: "until the last apply is taken up", args: "20", cluster: serving(
			ksvc{spec: half, status: "v1,,100", edited: 2, seen: 1},
			ksvc{spec: half, status: "v1,,100", edited: 2, ready: "Unknown OutOfDate"},
			ksvc{spec: half, status: "v1,,100", edited: 2, ready: "False RevisionNameTaken of the apply before"},
			ksvc{spec: half, status: "v1,,100", edited: 2}, // Knative says that it is done, for some milliseconds
			ksvc{spec: half, edited: 2}), answers:          both, out: halves},
		{name: "a Service that is edited meanwhile is not judged", args: "20", cluster: serving(before, ksvc{spec: half, status: "v1,,100", edited: 3, seen: 2, ready: "Unknown"}),
			answers: v1, code: 1, out: only1, err: edited},
		{name: "one whose Ready is Unknown for a moment, or that kubectl cannot get, is", args: "20", answers: v1, out: only1 + fits1,
			cluster: &cluster{states: []ksvc{before, {spec: "v1,,100", edited: 2, ready: "Unknown IngressNotConfigured"}}, fault: awayForShort}},
		{name: "but not any more", args: "20", answers: v1, code: 1, out: only1, cluster: &cluster{states: []ksvc{before}, fault: away},
			err: "the shares are not judged, since kubectl cannot get " + service + " again: Error from server (InternalError): etcd is away\n"},
		{name: "kubectl's own words come first", env: []string{"SVC_NAME=nope"}, cluster: serving(before), code: 2,
			answers: both, err: "Error from server (NotFound): \"nope\" not found\nkubectl cannot get Service nope in namespace default\n"},
		{name: "so they do for another context", args: "--context nope", cluster: serving(before), code: 2,
			answers: both, err: "error: context \"nope\" does not exist\nkubectl cannot get " + service + "\n"},
		{name: "no traffic and no route", args: "--wait 0", cluster: &cluster{states: []ksvc{{ready: "Unknown", url: "-", status: " "}}, pods: "ImagePullBackOff x"}, answers: both,
			code: 2, err: service + " is not Ready after … s: v3 is not ready: ImagePullBackOff x\n"},
		{name: "no such tag", script: "latest-run-test.sh", cluster: serving(before), answers: both, code: 2, err: service + " has no tag latest: apply a file that gives it one\n"},
		{name: "the tag latest on an older revision", script: "latest-run-test.sh", cluster: serving(ksvc{spec: "v1,,100 v2,latest,0"}),
			answers: v1, host: "latest-" + routeHost, code: 1, out: welcome, err: "the tag latest is not at the latest revision, v3\n"},
		{name: "a latest revision that has failed, and has no part in the traffic", args: "20 --wait 0", answers: both, out: split + "\nok: …\n",
			cluster: serving(ksvc{spec: pinned, ready: "False RevisionFailed v3 failed: | exit 1", routes: "True"}),
			err:     "the route is as its spec asks, but " + service + " is not Ready: RevisionFailed: v3 failed: | exit 1\n"},
		{name: "a split that the gateway has not confirmed", args: "20 --wait 0", answers: both, code: 1, cluster: serving(ksvc{spec: pinned, ready: "Unknown IngressNotConfigured x"}),
			out: "REVISION  TAG  OBSERVED  COUNT\nv1                50.0%     10  #####\nv2                50.0%     10  #####\n",
			err: notAsIs + "IngressNotConfigured: x (the gateway has not confirmed it: look at the pods of net-istio, net-kourier or what yours has)\n"},
		{name: "a gradual rollout is shown, and not judged", args: "20", answers: both, code: 1, err: moving,
			cluster: serving(ksvc{spec: "@latest,,100 @latest,latest,0", status: "v1,,60 v3,,40 v1,latest,60 v3,latest,40", ready: "Unknown RolloutInProgress x"}),
			out:     "…\nv1        latest       60%     50.0%     10  #####\nv3        latest       40%      0.0%      0\nv2                      0%     50.0%     10  #####\n"},
		{name: "but where only the tag is rolled out, and the traffic is pinned", args: "20", answers: both, out: halves, cluster: serving(rolling("10", "90"), rolling("90", "10"))},
		{name: "and at that tag, not", args: "20", script: "latest-run-test.sh", answers: answers{from("v3")}, host: "latest-" + routeHost, code: 1, err: moving,
			cluster: serving(rolling("10", "90")), out: "…\nv2        latest       90%      0.0%      0\nv3        latest       10%    100.0%     20  ##########\n"},
	}
	for _, tt := range []struct{ spec, status, ready, says string }{
		{pinned, " ", "False RevisionNameTaken x", "RevisionNameTaken: x (no percentage moves until the template has a name of its own)"},
		{pinned, "v1,,100", "False RevisionMissing x", "RevisionMissing: x (no percentage moves while one is for a revision that is not there or not ready)"},
		{"v1,,30 v1,,20 v2,,50", pinned, "Unknown TrafficNotMigrated x", "TrafficNotMigrated: x (list each revision once)"},
		{half, "v1,,100", "", "its route has 100% for v1, and its spec asks for 50% for v1 with the tag v1, 50% for v2 with the tag v2, 0% for v3 with the tag latest"},
	} {
		runs = append(runs, run{name: tt.says, args: "--wait 0", cluster: serving(ksvc{spec: tt.spec, status: tt.status, ready: tt.ready}),
			answers: both, code: 1, out: welcome, err: notAsIs + tt.says + "\n"})
	}
	check(t, runs)
}

func TestScriptFindsGateway(t *testing.T) {
	const inside, own, set = "http://stock-service-example.default.svc.cluster.local", "http://" + routeHost, "GATEWAY=127.0.0.97:1"
	_, port, _ := net.SplitHostPort(closedPort(t))
	for name, tt := range map[string]struct {
		env     string
		gateway object
		url     string // of the route
		to      string // the URL of the requests, if another
		through string
		code    int
		err     string
	}{
		"the load balancer's IP":                     {through: "127.0.0.99", gateway: gateway("ip=127.0.0.99", "http2=80 https=443"), err: "pods --namespace istio-system\n"},
		"its IPv6 address":                           {through: "[::1]", gateway: gateway("ip=::1", "http2=80")},
		"its hostname":                               {through: "localhost", gateway: gateway("hostname=localhost", "http2=80")},
		"a port of its own, by its name":             {through: "127.0.0.99:8080", gateway: gateway("ip=127.0.0.99", "status=15021 http2=8080 http=9090 https=8443")},
		"http, where there is no http2":              {through: "127.0.0.99:9090", gateway: gateway("ip=127.0.0.99", "https=8443 http=9090")},
		"https of a route of https":                  {through: "127.0.0.99:8443", gateway: gateway("ip=127.0.0.99", "http2=8080 https=8443"), url: "https://" + routeHost},
		"its first address that can be connected to": {through: "localhost:" + port, gateway: gateway("ip=127.0.0.1 hostname=localhost", "http2="+port)},
		"GATEWAY as a URL":                           {env: "GATEWAY=https://127.0.0.97:1/", to: "https://" + routeHost, through: "127.0.0.97:1", err: "set GATEWAY to an address of the gateway, with http:// where it takes no https\n"},
		"GATEWAY as an IPv6 address":                 {env: "GATEWAY=::1", through: "[::1]"},
		"a host of one's own":                        {env: "DOMAIN_NAME=stocks.example.org", to: "http://stocks.example.org", through: "127.0.0.99", gateway: gateway("ip=127.0.0.99", "http2=80")},
		"a route inside the cluster, by GATEWAY":     {env: set, url: inside, through: "127.0.0.97:1"},
		"or from a pod":                              {env: "KUBERNETES_SERVICE_HOST=10.0.0.1", url: inside, through: inside[7:]},
		"or not":                                     {url: inside, code: 2, err: inside + " is for the inside of the cluster: start this in a pod, or set GATEWAY to the gateway for the inside (knative-local-gateway of Istio, kourier-internal of Kourier)\n"},
		"no address": {gateway: gateway("", "http2=80"), code: 2, err: "Service istio-ingressgateway in namespace istio-system has no load balancer: run \"minikube tunnel\", or set GATEWAY to node:nodePort or to " +
			"http://localhost:8081 for \"kubectl port-forward -n istio-system service/istio-ingressgateway 8081:80\"\n"},
		"another gateway's Service": {env: "INGRESSGATEWAY=another", code: 2, err: "Error from server (NotFound): \"another\" not found\n" +
			"run-test.sh: kubectl cannot get the gateway's Service another in namespace istio-system (of Kourier: INGRESSGATEWAY=kourier INGRESS_NAMESPACE=kourier-system)\n"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			api := httptest.NewServer(&cluster{states: []ksvc{{spec: half, url: tt.url}}, gateway: tt.gateway})
			defer api.Close()
			got := runAgainst(t, stub(t), api.URL, "./run-test.sh", []string{"2"}, []string{tt.env})
			first, _, _ := strings.Cut(got.stdout, "\n")
			want := "2 requests to " + cmp.Or(tt.to, tt.url, own) + "/ through " + tt.through
			if tt.code == 2 {
				want = ""
			}
			if got.code != cmp.Or(tt.code, 1) || first != want || !strings.HasSuffix(got.stderr, tt.err) {
				t.Errorf("got\n%v\nwant the first line\n%s\nand at last\n%s", got, want, tt.err)
			}
		})
	}
}
