package test

import (
	"cmp"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
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
			r.check(t, path)
		}
	}
}

func TestScriptsWithoutCluster(t *testing.T) {
	check(t, []run{
		{name: "nothing is expected", args: "--revision-header K-Revision 4", answers: answers{{revision: "v1", header: "K-Revision"}}, out: "…\nv1 …\n\nok: no request failed; no percentages were given\n"},
		{name: "but what --expect gives", args: "--expect v1=50,stock-service-example-v2=50 --failures-of stock-service-example-v2 20 -- --retry 2",
			answers: answers{{revision: "stock-service-example-v1", status: 500}, from("v2")}, err: "10 of 20 requests failed: status 500 from v1, which does not count\n",
			out: "REVISION  EXPECTED  OBSERVED  COUNT  FAILED\nv1             50%     50.0%     10      10  #####\nv2             50%     50.0%     10       0  #####\n\nok: no request of v2 failed, …\n"},
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
		{name: "until the last apply is taken up", args: "20", answers: both, out: halves,
			err: strings.Repeat("Error from server (InternalError): etcd is away\n", 2), cluster: &cluster{fault: awayForShort, states: []ksvc{
				{spec: half, status: "v1,,100", edited: 2, ready: "False RevisionNameTaken of the apply before"}, {}, {},
				{spec: half, status: "v1,,100", edited: 2, seen: 1},
				{spec: half, status: "v1,,100", edited: 2, ready: "Unknown OutOfDate"},
				{spec: half, status: "v1,,100", edited: 2}, // Knative says that it is done, for some milliseconds
				{spec: half, edited: 2}}}},
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
		{name: "no such tag", script: "latest-run-test.sh", cluster: serving(before), answers: both, code: 2, err: service + " has no tag latest: apply a file that gives it one (scripts/pin.sh adds latest)\n"},
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
	const inside, set = "http://stock-service-example.default.svc.cluster.local", "GATEWAY=127.0.0.97:1"
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
			got := finished(t, command(t, stub, api.URL, "./run-test.sh", []string{"2"}, []string{tt.env}))
			first, _, _ := strings.Cut(got.stdout, "\n")
			want := map[int]string{0: "2 requests to " + cmp.Or(tt.to, tt.url, "http://"+routeHost) + "/ through " + tt.through}[tt.code]
			if got.code != cmp.Or(tt.code, 1) || first != want || !strings.HasSuffix(got.stderr, tt.err) {
				t.Errorf("got\n%v\nwant the first line\n%s\nand at last\n%s", got, want, tt.err)
			}
		})
	}
}

// It gives up on a gateway that is gone, and on one that accepts and is silent.
// Where the failures decide, it ends while other requests hang.
func TestScriptGivesUp(t *testing.T) {
	silent := answer{wait: time.Minute}
	check(t, []run{
		{name: "gone", args: "99999", env: []string{"GATEWAY=" + closedPort(t)}, answers: both, code: 1, out: "…\n",
			err: "gave up after … of 99999 requests\n… requests failed: no answer (Failed to connect to 127.0.0.1 port …: C… connect to server)\n" +
				"set GATEWAY to an address of the gateway, with http:// where it takes no https\n"},
		{name: "silence", args: "--timeout 2 200", answers: answers{silent}, code: 1, out: "…\n",
			err: "gave up after … of 200 requests\n… requests failed: connected, but no answer within 2 s\n"},
		{name: "failures", args: "--fail-fast --parallel 4 300", answers: append(answers{{revision: "v1", status: 500}}, times(300, silent)...), code: 1, out: "…\nv1 …\n",
			err: "stopped after 1 of 300 requests\n1 of 1 requests failed: status 500 from v1\n"},
	})
}

// No more requests than --parallel are on their way at the same time, and no
// more are sent per second than --rate says.
func TestScriptSendsSeveralAtATime(t *testing.T) {
	for _, tt := range []struct {
		args        string
		most        int
		wait, least time.Duration
	}{{"20", 2, 200, 0}, {"--parallel 6 30", 6, 200, 0}, {"--rate 10 --parallel 4 20", 4, 0, 1500}} {
		var now, most int
		var mu sync.Mutex
		var first, last time.Time
		count := func(n int) {
			mu.Lock()
			last = time.Now()
			first = map[bool]time.Time{true: last, false: first}[first.IsZero()]
			now, most = now+n, max(most, now+n)
			mu.Unlock()
		}
		r := run{name: tt.args, args: tt.args, out: "…\nv1 …\n\nok: …\n", gateway: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			count(1)
			defer count(-1)
			answer{revision: "v1", wait: tt.wait * time.Millisecond}.ServeHTTP(w, r)
		})}
		r.check(t, stub)
		if took := last.Sub(first); most < 2 && tt.wait > 0 || most > tt.most || took < tt.least*time.Millisecond {
			t.Errorf("%s: up to %d at the same time, in %v", tt.args, most, took)
		}
	}
}

// https asks the route's own name: the certificate, SNI and Host are its. What
// stands behind -- is for curl.
func TestScriptWithTLS(t *testing.T) {
	gateway := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		answer{revision: "v1", text: r.Method + " " + r.Host + " " + r.Header.Get("X-Who")}.ServeHTTP(w, r)
	}))
	gateway.Config.ErrorLog = log.New(io.Discard, "", 0)
	gateway.StartTLS() // its certificate is for example.com
	t.Cleanup(gateway.Close)
	dir := t.TempDir()
	write(t, filepath.Join(dir, "ca.pem"), string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: gateway.Certificate().Raw})))
	write(t, filepath.Join(dir, "header"), "X-Who: me")
	env := []string{"GATEWAY=" + gateway.Listener.Addr().String(), "CURL_CA_BUNDLE=" + dir + "/ca.pem"}
	c := serving(ksvc{spec: "v1,,100", url: "https://example.com"})
	check(t, []run{
		{name: "with", args: "-- --header @" + dir + "/header --request POST", cluster: c, env: env, out: "POST example.com me"},
		{name: "without", cluster: c, env: env[:1], code: 1, err: "1 of 1 requests failed: no answer (SSL …)\nset GATEWAY…\n"},
	})
}

// A signal ends the script and its children at once, in whatever they are.
func TestScriptIsInterrupted(t *testing.T) {
	for name, hangs := range map[string]int{"before": 1, "while": 2, "after": 2, "without a cluster": 0} {
		for sig, code := range map[syscall.Signal]int{syscall.SIGINT: 130, syscall.SIGTERM: 143, syscall.SIGHUP: 129} {
			t.Run(fmt.Sprint(name, " ", sig), func(t *testing.T) {
				if signal.Ignored(sig) {
					t.Skip(sig, " is ignored here, which a shell cannot trap")
				}
				t.Parallel()
				reached, c := make(chan struct{}, 100), serving(ksvc{spec: "v1,,100"})
				hang := func(n int, r *http.Request) bool {
					if n == hangs {
						reached <- struct{}{}
						<-r.Context().Done()
					}
					return false
				}
				c.fault = hang
				api := httptest.NewServer(c)
				gateway := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					hang(0, r)
					answer{revision: "v1", wait: map[string]time.Duration{"while": 50 * time.Millisecond}[name]}.ServeHTTP(w, r)
				}))
				t.Cleanup(gateway.Close)
				t.Cleanup(api.Close)
				tmp, n := t.TempDir(), map[string]string{"while": "400"}[name]+"20"
				env := []string{"TMPDIR=" + tmp, "GATEWAY=" + gateway.Listener.Addr().String(), "DOMAIN_NAME=" + map[int]string{0: "localhost"}[hangs]}
				cmd := command(t, stub, api.URL, "./run-test.sh", []string{n}, env)
				cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
				to := map[bool]int{true: -1, false: 1}[sig == syscall.SIGINT] // to all, as a terminal does
				go func() {
					<-reached
					syscall.Kill(to*cmd.Process.Pid, sig)
					syscall.Kill(to*cmd.Process.Pid, sig) // twice, as timeout(1) does
				}()
				start := time.Now()
				got := finished(t, cmd)
				if told := strings.Contains(got.stderr, "interrupted after "); got.code != code || told == (name == "before") || time.Since(start) > 30*time.Second {
					t.Errorf("after %v got\n%v\nwant exit %d", time.Since(start), got, code)
				}
				noneLeft(t, tmp)
			})
		}
	}
}

// What cannot be printed or kept is never told as ok.
func TestScriptCannotWrite(t *testing.T) {
	gateway := httptest.NewServer(from("v1"))
	defer gateway.Close()
	env := []string{"DOMAIN_NAME=localhost", "GATEWAY=" + gateway.Listener.Addr().String()}
	for _, n := range []string{"1", "20"} {
		full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
		if err != nil {
			t.Skip(err)
		}
		reader, left, _ := os.Pipe()
		reader.Close()
		for file, says := range map[*os.File]string{full: "write error: No space left on device\n", left: ""} {
			cmd := command(t, stub, "", "./run-test.sh", []string{n}, env)
			cmd.Stdout = file
			if got := finished(t, cmd); got.code == 0 || !strings.HasSuffix(got.stderr, says) || (says == "") != (got.stderr == "") {
				t.Errorf("%s requests to %s: %v", n, file.Name(), got)
			}
			file.Close()
		}
	}
}

// Programs of its own machine that behave otherwise.
func TestScriptBesideOtherPrograms(t *testing.T) {
	const shared = "…\nv1 …\nv2 …\n\nok: …\n"
	const unknown = "curl: unknown --write-out variable: 'exitcode' (curl 7.75 is needed, and 7.84 for --rate)\n"
	for _, tt := range []struct {
		program, does string
		run
	}{
		{"awk", "echo warning: x >&2\nexec REAL \"$@\"", run{name: "an awk that warns", out: shared, err: "warning: x\nwarning: x\n"}},
		{"curl", "echo curl: /lib/libcurl.so.4: no version information available >&2\nexec REAL \"$@\"", run{name: "a curl that warns", out: shared}},
		{"curl", `kill -9 $$`, run{name: "a curl that is killed", code: 1, out: "…\n", err: "gave up after 0 of 20 requests\n"}},
		{"curl", `echo "curl: unknown --write-out variable: 'exitcode'" >&2`, run{name: "an old curl", code: 2, err: unknown}},
		{"mktemp", "unset TMPDIR; exec REAL \"$@\"", run{name: "an mktemp that does not take TMPDIR", out: shared}},
		{"kubectl", `[ -f "$HOME/in" ] || { echo 'Your code:' >&2; read -r code && [ "$code" = 42 ]; } || exit 1
			echo >"$HOME/in"; exec REAL "$@"`, run{name: "a kubectl that asks for a code, once", cluster: serving(ksvc{spec: pinned}), out: shared, err: "Your code:\n"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			dir, path := t.TempDir(), filepath.Join(t.TempDir(), "kubectl")
			link(t, stub, path)
			if found, err := exec.LookPath(tt.program); err == nil && tt.program != "kubectl" {
				path = found
			}
			write(t, filepath.Join(dir, tt.program), "#!/bin/sh\n"+strings.ReplaceAll(tt.does, "REAL", path))
			tt.args, tt.answers, tt.env = "20", both, []string{"PATH=" + dir + ":" + tools(t)}
			tt.run.check(t, stub)
		})
	}
}

// A watch shows what is so since the last change of the traffic.
func TestScriptWatches(t *testing.T) {
	var runs []run
	for name, tt := range map[string]struct {
		then     ksvc
		out, err string
	}{
		"traffic that changes": {ksvc{spec: "v2,,100", edited: 2}, "v2                 100%    100.0% …  ##########\n…", edited},
		"a rollout": {ksvc{spec: "@latest,,100", status: "v2,,82 v1,,18", ready: "Unknown RolloutInProgress x"},
			"v2                  82%    100.0% …  ##########\nv1                  18%      0.0%      0\n", moving},
		"an edit that is not in force yet": {ksvc{spec: pinned, edited: 2, seen: 1}, "v1                  50%      0.0%      0\nv2                  50%    100.0% …  ##########\n", edited},
	} {
		c := serving(ksvc{spec: pinned}, tt.then)
		changing := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			from(map[bool]string{true: "v2", false: "v1"}[c.asked.Load() > 1]).ServeHTTP(w, r) // when the change has been told
		})
		runs = append(runs, run{name: name, args: "--rate 20 120", cluster: c, gateway: changing, code: 1, out: "REVISION  TAG  EXPECTED  OBSERVED  COUNT\n" + tt.out, err: tt.err})
	}
	check(t, runs)
}
