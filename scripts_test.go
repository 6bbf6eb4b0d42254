package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"text/template"
)

// The scripts run against a stand-in for the cluster's API server and one for
// the ingress gateway. Where kubectl is installed, each case runs with it; and
// everywhere with the stub that this test binary is under the name kubectl.

func TestMain(m *testing.M) {
	if filepath.Base(os.Args[0]) == "kubectl" {
		os.Exit(stubKubectl(os.Args[1:]))
	}
	dir, err := os.MkdirTemp("", "rest-api-go")
	if err != nil {
		panic(err)
	}
	binaries = dir
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

// binaries is where tests build the program.
var binaries string

// object is a Kubernetes object, as JSON has it.
type object = map[string]any

// target is an entry of a Knative Service's status.traffic.
type target struct {
	revision, tag string
	percent       int
}

// service is a state of the Knative Service stock-service-example.
func service(generation, observed int, ready, reason, message string, traffic ...target) object {
	entries, wanted, latest := []any{}, []any{}, ""
	for _, t := range traffic {
		entry := object{"revisionName": "stock-service-example-" + t.revision, "percent": t.percent}
		if t.tag != "" {
			entry["tag"] = t.tag
			entry["url"] = "http://" + t.tag + "-stock-service-example.default.example.com"
		}
		entries = append(entries, entry)
		want := maps.Clone(entry)
		delete(want, "url")
		if t.tag == "latest" {
			delete(want, "revisionName")
			want["latestRevision"] = true
			latest = "stock-service-example-" + t.revision
		}
		wanted = append(wanted, want)
	}
	return object{
		"apiVersion": "serving.knative.dev/v1", "kind": "Service",
		"metadata": object{"name": "stock-service-example", "namespace": "default", "generation": generation},
		"spec":     object{"template": object{"metadata": object{"name": latest}}, "traffic": wanted},
		"status": object{
			"observedGeneration": observed,
			"url":                "http://stock-service-example.default.example.com",
			"conditions": []any{
				object{"type": "ConfigurationsReady", "status": "True"},
				object{"type": "Ready", "status": ready, "reason": reason, "message": message},
			},
			"traffic": entries,
		},
	}
}

func readyService(traffic ...target) object { return service(1, 1, "True", "", "", traffic...) }

// lingering is a state in which Knative says that it is done, for some
// milliseconds, and still has the traffic of before the last apply.
func lingering(done object, before ...target) object {
	status := maps.Clone(done["status"].(object))
	status["traffic"] = readyService(before...)["status"].(object)["traffic"]
	state := maps.Clone(done)
	state["status"] = status
	return state
}

var (
	split5050 = []target{{"v1", "v1", 50}, {"v2", "v2", 50}, {"v3", "latest", 0}}
	split433  = []target{{"v1", "v1", 40}, {"v2", "v2", 30}, {"v3", "v3", 30}, {"v3", "latest", 0}}
)

// gatewayService is the ingress gateway's Service; addresses are those of its
// load balancer, IPs or names.
func gatewayService(nodePort int, addresses ...string) object {
	ingress := []any{}
	for _, a := range addresses {
		key := "hostname"
		if net.ParseIP(a) != nil {
			key = "ip"
		}
		ingress = append(ingress, object{key: a})
	}
	port := object{"name": "http2", "port": 80}
	if nodePort != 0 {
		port["nodePort"] = nodePort
	}
	return object{
		"apiVersion": "v1", "kind": "Service",
		"metadata": object{"name": "istio-ingressgateway", "namespace": "istio-system"},
		"spec":     object{"ports": []any{object{"name": "status-port", "port": 15021, "nodePort": 1}, port}},
		"status":   object{"loadBalancer": object{"ingress": ingress}},
	}
}

func node(address string) object {
	return object{
		"apiVersion": "v1", "kind": "Node", "metadata": object{"name": "node1"},
		"status": object{"addresses": []any{
			object{"type": "Hostname", "address": "node1"},
			object{"type": "InternalIP", "address": address},
		}},
	}
}

// cluster is what the stand-in API server knows.
type cluster struct {
	noKnative   bool
	noNodesList bool     // the user may not list nodes
	states      []object // of the Knative Service, one for each time it is asked for
	services    []object // of the namespace istio-system
	nodes       []object
}

func (c *cluster) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch path := r.URL.Path; {
	case path == "/api":
		reply(w, 200, object{"kind": "APIVersions", "versions": []string{"v1"}})
	case path == "/apis":
		reply(w, 200, c.groups())
	case path == "/api/v1":
		reply(w, 200, resources("v1", object{"name": "services", "kind": "Service", "namespaced": true, "shortNames": []string{"svc"}}, object{"name": "nodes", "kind": "Node", "namespaced": false}))
	case path == "/apis/serving.knative.dev/v1" && !c.noKnative:
		reply(w, 200, resources("serving.knative.dev/v1", object{"name": "services", "kind": "Service", "namespaced": true, "shortNames": []string{"ksvc"}}))
	case path == "/apis/serving.knative.dev/v1/namespaces/default/services/stock-service-example" && len(c.states) > 0:
		reply(w, 200, c.states[0])
		if len(c.states) > 1 {
			c.states = c.states[1:]
		}
	case path == "/api/v1/namespaces/istio-system/services":
		reply(w, 200, list(c.services))
	case path == "/api/v1/namespaces/elsewhere/services":
		reply(w, 200, list(nil))
	case path == "/api/v1/nodes" && !c.noNodesList:
		reply(w, 200, list(c.nodes))
	case path == "/api/v1/nodes":
		reply(w, 403, failure(403, "Forbidden", `nodes is forbidden: User "learner" cannot list resource "nodes"`))
	default:
		reply(w, 404, failure(404, "NotFound", fmt.Sprintf("%s %q not found", "services.serving.knative.dev", filepath.Base(path))))
	}
}

func (c *cluster) groups() object {
	groups := []any{}
	if !c.noKnative {
		version := object{"groupVersion": "serving.knative.dev/v1", "version": "v1"}
		groups = append(groups, object{"name": "serving.knative.dev", "versions": []any{version}, "preferredVersion": version})
	}
	return object{"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}
}

func resources(version string, all ...object) object {
	for _, r := range all {
		r["singularName"], r["verbs"] = "", []string{"get", "list", "watch"}
	}
	return object{"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": version, "resources": all}
}

func list(items []object) object {
	if items == nil {
		items = []object{}
	}
	return object{"kind": "List", "apiVersion": "v1", "metadata": object{}, "items": items}
}

func failure(code int, reason, message string) object {
	return object{"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reason, "message": message}
}

func reply(w http.ResponseWriter, status int, body object) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(body)
}

// stubKubectl does what the scripts use of kubectl: get of one ksvc, or of the
// lists services,nodes, printed by a go-template.
func stubKubectl(args []string) int {
	server, format := os.Getenv("STUB_SERVER"), ""
	if calls, err := os.OpenFile(os.Getenv("STUB_CALLS"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600); err == nil {
		fmt.Fprintln(calls, args[1])
		calls.Close()
	}
	for _, a := range args {
		if after, ok := strings.CutPrefix(a, "go-template="); ok {
			format = after
		}
	}
	tmpl := template.Must(template.New("").Parse(format))
	print := func(o object) {
		if err := tmpl.Execute(os.Stdout, integers(o)); err != nil {
			fmt.Fprintln(os.Stderr, "error:", err)
		}
	}
	get := func(path string) (object, string) {
		resp, err := http.Get(server + path)
		if err != nil {
			return nil, "The connection to the server " + server + " was refused - did you specify the right host or port?"
		}
		defer resp.Body.Close()
		var body object
		decoder := json.NewDecoder(resp.Body)
		decoder.UseNumber()
		if err := decoder.Decode(&body); err != nil {
			return nil, err.Error()
		}
		if body["kind"] == "Status" {
			return nil, fmt.Sprintf("Error from server (%s): %s", body["reason"], body["message"])
		}
		return body, ""
	}
	fail := func(message string) int {
		fmt.Fprintln(os.Stderr, message)
		return 1
	}

	if args[1] == "services,nodes" { // get services,nodes --namespace NAMESPACE
		code, items := 0, []any{}
		for _, path := range []string{"/api/v1/namespaces/" + args[3] + "/services", "/api/v1/nodes"} {
			body, problem := get(path)
			if problem != "" {
				code = fail(problem)
				continue
			}
			items = append(items, body["items"].([]any)...)
		}
		print(object{"items": items})
		return code
	}

	// get ksvc NAME --namespace NAMESPACE
	path := "/apis/serving.knative.dev/v1"
	if _, problem := get(path); strings.Contains(problem, "NotFound") {
		return fail(`error: the server doesn't have a resource type "ksvc"`)
	}
	service, problem := get(path + "/namespaces/" + args[4] + "/services/" + args[2])
	if problem != "" {
		return fail(problem)
	}
	print(service)
	return 0
}

// integers turns the numbers of JSON into those that kubectl's templates see.
func integers(value any) any {
	switch v := value.(type) {
	case object:
		for key := range v {
			v[key] = integers(v[key])
		}
	case []any:
		for i := range v {
			v[i] = integers(v[i])
		}
	case json.Number:
		n, _ := v.Int64()
		return n
	}
	return value
}

// answers is a stand-in gateway: it gives one of its answers after the other,
// over and over.
type answers []answer

type answer struct {
	status         int // 0 breaks off without an answer
	revision, text string
}

// from is the current image's answer of the revision stock-service-example-x,
// and old that of an image without X-Revision.
func from(x string) answer {
	return answer{200, "stock-service-example-" + x, "Welcome to the " + x + " app! \n"}
}
func old(x string) answer { return answer{200, "", "Welcome to the " + x + " app! \n"} }

func times(n int, a answer) answers {
	all := answers{}
	for range n {
		all = append(all, a)
	}
	return all
}

func (a answers) gateway(t *testing.T, host string) *httptest.Server {
	var n atomic.Int64
	return httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Host != host || r.URL.Path != "/" || r.Method != "GET" {
			t.Errorf("the gateway got %s %s of host %s, want GET / of %s", r.Method, r.URL, r.Host, host)
		}
		answer := a[int(n.Add(1)-1)%len(a)]
		if answer.status == 0 {
			panic(http.ErrAbortHandler)
		}
		if answer.revision != "" {
			w.Header().Set("X-Revision", answer.revision)
		}
		w.WriteHeader(answer.status)
		io.WriteString(w, answer.text)
	}))
}

const routeHost = "stock-service-example.default.example.com"

func TestScripts(t *testing.T) {
	tests := []struct {
		name    string
		script  string // run-test.sh unless given
		args    string
		cluster cluster
		answers answers
		host    string // routeHost unless given
		env     []string
		code    int
		stdout  string
		stderr  string
	}{
		{
			name:    "one request prints its answer",
			cluster: cluster{states: []object{readyService(split5050...)}},
			answers: answers{from("v1")},
			stdout:  "Welcome to the v1 app! \n",
		},
		{
			name:    "one request that fails",
			cluster: cluster{states: []object{readyService(split5050...)}},
			answers: answers{{503, "", "no healthy upstream\n"}},
			code:    1,
			stdout:  "no healthy upstream\n",
			stderr:  "run-test.sh: 1 of 1 requests failed, the last with 503 from the gateway\n",
		},
		{
			name: "N requests show the split", args: "100",
			cluster: cluster{states: []object{readyService(split5050...)}},
			answers: answers{from("v1"), from("v2")},
			stdout: `100 requests to stock-service-example.default.example.com through GATEWAY

REVISION                  TAG     EXPECTED  OBSERVED   COUNT
stock-service-example-v1  v1           50%     50.0%      50  ###############
stock-service-example-v2  v2           50%     50.0%      50  ###############
stock-service-example-v3  latest        0%      0.0%       0

ok: no request failed, and each share is within chance of its percent
`,
		},
		{
			name: "a revision at two tags has the sum of their percents", args: "10",
			cluster: cluster{states: []object{readyService(split433...)}},
			answers: answers{from("v1"), from("v2"), from("v3"), from("v1"), from("v2"), from("v3"), from("v1"), from("v2"), from("v3"), from("v1")},
			stdout: `10 requests to stock-service-example.default.example.com through GATEWAY

REVISION                  TAG        EXPECTED  OBSERVED   COUNT
stock-service-example-v1  v1              40%     40.0%       4  ############
stock-service-example-v2  v2              30%     30.0%       3  #########
stock-service-example-v3  v3,latest       30%     30.0%       3  #########

ok: no request failed, and each share is within chance of its percent
`,
		},
		{
			name: "four standard deviations are chance", args: "100",
			cluster: cluster{states: []object{readyService(split5050...)}},
			answers: append(times(70, from("v1")), times(30, from("v2"))...),
			stdout: `100 requests to stock-service-example.default.example.com through GATEWAY

REVISION                  TAG     EXPECTED  OBSERVED   COUNT
stock-service-example-v1  v1           50%     70.0%      70  #####################
stock-service-example-v2  v2           50%     30.0%      30  #########
stock-service-example-v3  latest        0%      0.0%       0

ok: no request failed, and each share is within chance of its percent
`,
		},
		{
			name: "more is not", args: "100",
			cluster: cluster{states: []object{readyService(split5050...)}},
			answers: append(times(71, from("v1")), times(29, from("v2"))...),
			code:    1,
			stdout: `100 requests to stock-service-example.default.example.com through GATEWAY

REVISION                  TAG     EXPECTED  OBSERVED   COUNT
stock-service-example-v1  v1           50%     71.0%      71  #####################
stock-service-example-v2  v2           50%     29.0%      29  #########
stock-service-example-v3  latest        0%      0.0%       0

`,
			stderr: "run-test.sh: stock-service-example-v1 got 71.0%, and chance explains only 30.0% to 70.0%\n" +
				"run-test.sh: stock-service-example-v2 got 29.0%, and chance explains only 30.0% to 70.0%\n",
		},
		{
			name: "any answer of a 0% revision is too many", args: "100",
			cluster: cluster{states: []object{readyService(split5050...)}},
			answers: append(append(times(49, from("v1")), times(50, from("v2"))...), from("v3")),
			code:    1,
			stdout: `100 requests to stock-service-example.default.example.com through GATEWAY

REVISION                  TAG     EXPECTED  OBSERVED   COUNT
stock-service-example-v1  v1           50%     49.0%      49  ###############
stock-service-example-v2  v2           50%     50.0%      50  ###############
stock-service-example-v3  latest        0%      1.0%       1

`,
			stderr: "run-test.sh: stock-service-example-v3 got 1.0%, and chance explains only 0.0% to 0.0%\n",
		},
		{
			name: "failures and strangers have lines of their own", args: "8",
			cluster: cluster{states: []object{readyService(target{"v1", "", 100})}},
			// the break first: curl asks again when a used connection breaks
			answers: answers{{0, "", ""}, from("v1"), {404, "", "no route\n"}, from("v9"), from("v1"), {500, "stock-service-example-v1", "v1 failed\n"}, from("v1"), {200, "", "<html>a login page</html>"}},
			code:    1,
			stdout: `8 requests to stock-service-example.default.example.com through GATEWAY

REVISION                  TAG  EXPECTED  OBSERVED   COUNT
stock-service-example-v1           100%     60.0%       3  ##################

failed: 1 x 404 from the gateway
failed: 1 x 500 from stock-service-example-v1
failed: 1 x no answer (Empty reply from server)
unexpected: 1 x stock-service-example-v9
unexpected: 1 x text "<html>a login page</html>"
`,
			stderr: `run-test.sh: 3 of 8 requests failed, the last with 500 from stock-service-example-v1
run-test.sh: 2 of 8 answers came from no revision of this traffic
run-test.sh: stock-service-example-v1 got 60.0%, and chance explains only 100.0% to 100.0%
`,
		},
		{
			name: "a gateway that never answers is given up", args: "50",
			cluster: cluster{states: []object{readyService(target{"v1", "", 100})}},
			answers: answers{{0, "", ""}},
			code:    1,
			stdout: `50 requests to stock-service-example.default.example.com through GATEWAY

REVISION                  TAG  EXPECTED  OBSERVED   COUNT
stock-service-example-v1           100%      0.0%       0

failed: 5 x no answer (Empty reply from server)
`,
			stderr: `run-test.sh: gave up after 5 of 50 requests: set GATEWAY to an address that reaches the gateway from here
run-test.sh: 5 of 5 requests failed, the last with no answer (Empty reply from server)
`,
		},
		{
			name: "an older image is known by its text", args: "2",
			cluster: cluster{states: []object{readyService(split5050...)}},
			answers: answers{old("v1"), old("v2")},
			stdout: `2 requests to stock-service-example.default.example.com through GATEWAY

REVISION                  TAG     EXPECTED  OBSERVED   COUNT
stock-service-example-v1  v1           50%     50.0%       1  ###############
stock-service-example-v2  v2           50%     50.0%       1  ###############
stock-service-example-v3  latest        0%      0.0%       0

ok: no request failed, and each share is within chance of its percent
`,
		},
		{
			name: "a tag's answers are all of its revision", script: "latest-run-test.sh", args: "20",
			cluster: cluster{states: []object{readyService(split5050...)}},
			answers: answers{from("v3")}, host: "latest-" + routeHost,
			stdout: `20 requests to latest-stock-service-example.default.example.com through GATEWAY

REVISION                  TAG     EXPECTED  OBSERVED   COUNT
stock-service-example-v3  latest      100%    100.0%      20  ##############################

ok: no request failed, and each share is within chance of its percent
`,
		},
		{
			name: "another revision at a tag", script: "latest-run-test.sh", args: "20",
			cluster: cluster{states: []object{readyService(split5050...)}},
			answers: append(times(19, from("v3")), from("v1")), host: "latest-" + routeHost,
			code: 1,
			stdout: `20 requests to latest-stock-service-example.default.example.com through GATEWAY

REVISION                  TAG     EXPECTED  OBSERVED   COUNT
stock-service-example-v3  latest      100%     95.0%      19  #############################

unexpected: 1 x stock-service-example-v1
`,
			stderr: `latest-run-test.sh: 1 of 20 answers came from no revision of this traffic
latest-run-test.sh: stock-service-example-v3 got 95.0%, and chance explains only 100.0% to 100.0%
`,
		},
		{
			name: "one answer of another revision at a tag", script: "latest-run-test.sh",
			cluster: cluster{states: []object{readyService(split5050...)}},
			answers: answers{from("v1")}, host: "latest-" + routeHost,
			code:   1,
			stdout: "Welcome to the v1 app! \n",
			stderr: `latest-run-test.sh: 1 of 1 answers came from no revision of this traffic
latest-run-test.sh: stock-service-example-v3 got 0.0%, and chance explains only 100.0% to 100.0%
`,
		},
		{
			name: "no such tag", script: "latest-run-test.sh",
			cluster: cluster{states: []object{readyService(target{"v1", "", 100})}},
			code:    2,
			stderr:  "latest-run-test.sh: Service stock-service-example has no tag latest in its traffic (it has: none): kubectl apply -f revision-v2.yaml\n",
		},
		{
			name: "another tag by TAG", args: "3", env: []string{"TAG=v2"},
			cluster: cluster{states: []object{readyService(split5050...)}},
			answers: answers{from("v2")}, host: "v2-" + routeHost,
			stdout: `3 requests to v2-stock-service-example.default.example.com through GATEWAY

REVISION                  TAG  EXPECTED  OBSERVED   COUNT
stock-service-example-v2  v2       100%    100.0%       3  ##############################

ok: no request failed, and each share is within chance of its percent
`,
		},
		{
			name: "with GATEWAY and HOST no cluster is asked", args: "4", env: []string{"GATEWAY=GATEWAY", "HOST=localhost"},
			answers: answers{from("v2"), from("v1"), from("v3"), from("v1")}, host: "localhost",
			stdout: `4 requests to localhost through GATEWAY

REVISION                  TAG  EXPECTED  OBSERVED   COUNT
stock-service-example-v1              -     50.0%       2  ###############
stock-service-example-v2              -     25.0%       1  ########
stock-service-example-v3              -     25.0%       1  ########

ok: no request failed; no cluster was asked which shares to expect
`,
		},
		{
			name: "and still a tag has one revision", script: "latest-run-test.sh", args: "4", env: []string{"GATEWAY=GATEWAY", "HOST=v3.localhost"},
			answers: answers{from("v3"), from("v1")}, host: "v3.localhost",
			code: 1,
			stdout: `4 requests to v3.localhost through GATEWAY

REVISION                  TAG  EXPECTED  OBSERVED   COUNT
stock-service-example-v1              -     50.0%       2  ###############
stock-service-example-v3              -     50.0%       2  ###############

`,
			stderr: "latest-run-test.sh: 2 revisions answered, and at a tag there is one\n",
		},
		{
			name: "GATEWAY alone still asks for the Service", env: []string{"GATEWAY=GATEWAY"},
			cluster: cluster{states: []object{readyService(split5050...)}},
			answers: answers{from("v1")},
			stdout:  "Welcome to the v1 app! \n",
		},
		{
			name: "HOST alone still asks for the gateway", env: []string{"HOST=stocks.example.org"},
			cluster: cluster{states: []object{readyService(split5050...)}},
			answers: answers{from("v1")}, host: "stocks.example.org",
			stdout: "Welcome to the v1 app! \n",
		},
		{
			name: "it waits until the last apply is taken up", args: "2",
			cluster: cluster{states: []object{
				service(2, 1, "True", "", "", target{"v1", "", 100}),
				service(2, 2, "Unknown", "OutOfDate", "", target{"v1", "", 100}),
				service(2, 2, "False", "RevisionMissing", "of the apply before", target{"v1", "", 100}),
				lingering(service(2, 2, "True", "", "", split5050...), target{"v1", "", 100}),
				service(2, 2, "True", "", "", split5050...),
			}},
			answers: answers{from("v1"), from("v2")},
			stdout: `2 requests to stock-service-example.default.example.com through GATEWAY

REVISION                  TAG     EXPECTED  OBSERVED   COUNT
stock-service-example-v1  v1           50%     50.0%       1  ###############
stock-service-example-v2  v2           50%     50.0%       1  ###############
stock-service-example-v3  latest        0%      0.0%       0

ok: no request failed, and each share is within chance of its percent
`,
		},
		{
			name: "and the tag latest has the latest revision", script: "latest-run-test.sh",
			cluster: cluster{states: []object{
				lingering(service(3, 3, "True", "", "", split5050...), target{"v1", "v1", 50}, target{"v2", "v2", 50}, target{"v2", "latest", 0}),
				service(3, 3, "True", "", "", split5050...),
			}},
			answers: answers{from("v3")}, host: "latest-" + routeHost,
			stdout: "Welcome to the v3 app! \n",
		},
		{
			name: "traffic that stays other than the spec's is taken as it is", args: "2",
			cluster: cluster{states: []object{lingering(readyService(split5050...), target{"v1", "", 100})}},
			answers: answers{from("v1")},
			stdout: `2 requests to stock-service-example.default.example.com through GATEWAY

REVISION                  TAG  EXPECTED  OBSERVED   COUNT
stock-service-example-v1           100%    100.0%       2  ##############################

ok: no request failed, and each share is within chance of its percent
`,
		},
		{
			name:    "a Service that is not Ready",
			cluster: cluster{states: []object{service(1, 1, "False", "RevisionFailed", "Revision \"stock-service-example-v1\" failed: a | b\nexit 1", target{"v1", "", 100})}},
			code:    2,
			stderr:  `run-test.sh: Service stock-service-example in namespace default is not Ready: RevisionFailed: Revision "stock-service-example-v1" failed: a | b\nexit 1` + "\n",
		},
		{
			name:    "a file was skipped",
			cluster: cluster{states: []object{service(1, 1, "False", "RevisionMissing", `Revision "stock-service-example-v2" referenced in traffic not found.`, target{"v1", "", 100})}},
			code:    2,
			stderr:  `run-test.sh: Service stock-service-example in namespace default is not Ready: RevisionMissing: Revision "stock-service-example-v2" referenced in traffic not found. Apply the files in order: a skipped one's revision is missing.` + "\n",
		},
		{
			name: "a Service that stays unknown", env: []string{"WAIT=1"},
			cluster: cluster{states: []object{service(1, 1, "Unknown", "IngressNotConfigured", "Ingress has not yet been reconciled.")}},
			code:    2,
			stderr:  "run-test.sh: Service stock-service-example in namespace default did not become Ready within 1 s: IngressNotConfigured: Ingress has not yet been reconciled.\n",
		},
		{
			name: "no such Service", env: []string{"SVC_NAME=nope"},
			code:   2,
			stderr: "run-test.sh: there is no Service nope in namespace default: kubectl apply -f revision-v1.yaml, or set SVC_NAME and NAMESPACE\n",
		},
		{
			name: "no Knative", cluster: cluster{noKnative: true},
			code:   2,
			stderr: "run-test.sh: the cluster has no Knative Serving: see https://knative.dev/docs/install\n",
		},
		{
			name: "-h explains", args: "-h",
			stdout: usage,
		},
	}
	for _, kubectl := range kubectls(t) {
		for _, tt := range tests {
			t.Run(kubectl.name+"/"+tt.name, func(t *testing.T) {
				t.Parallel()
				gateway := tt.answers.gateway(t, cmp.Or(tt.host, routeHost))
				defer gateway.Close()
				address := gateway.Listener.Addr().(*net.TCPAddr)
				if tt.cluster.services == nil {
					tt.cluster.services = []object{gatewayService(address.Port)}
					tt.cluster.nodes = []object{node("127.0.0.1")}
				}
				var env []string
				for _, e := range tt.env {
					env = append(env, strings.ReplaceAll(e, "GATEWAY=GATEWAY", "GATEWAY="+address.String()))
				}
				got := runScript(t, kubectl, tt.cluster, cmp.Or(tt.script, "run-test.sh"), strings.Fields(tt.args), env)
				got.stdout = strings.ReplaceAll(got.stdout, address.String(), "GATEWAY")
				if want := (result{tt.code, tt.stdout, tt.stderr}); got != want {
					t.Errorf("got\n%v\nwant\n%v", got, want)
				}
			})
		}
	}
}

const usage = `usage: run-test.sh [N]          through the route: traffic is split by percent
       latest-run-test.sh [N]   at the tag latest: the latest revision, whatever its percent

Without N, sends one request and prints the answer. With N, sends N requests
and shows each revision's share. Exits with 0 if the shares are what the
Service's traffic says and no request failed, with 1 if not, and with 2 if it
could not try.

  SVC_NAME, NAMESPACE                 the Knative Service (stock-service-example, default)
  INGRESSGATEWAY, INGRESS_NAMESPACE   the gateway's Service (istio-ingressgateway, istio-system)
  GATEWAY                             host[:port] of the gateway, instead of asking the cluster
  HOST                                Host header, instead of the Service's; with GATEWAY, no cluster is asked
  TAG                                 send to this tag's revision only
  WAIT                                seconds for the Service to become Ready after an apply (60)
`

func TestScriptFindsGateway(t *testing.T) {
	gateway := gatewayService(31380)
	tests := []struct {
		name     string
		services []object
		nodes    []object
		noNodes  bool // the user may not list nodes
		env      []string
		through  string // address that it sends to
		stderr   string // if it finds none
	}{
		{name: "GATEWAY", services: []object{gatewayService(31380, "127.0.0.99")}, env: []string{"GATEWAY=127.0.0.97:1"}, through: "127.0.0.97:1"},
		{name: "the load balancer's IP", services: []object{gatewayService(31380, "127.0.0.99")}, nodes: []object{node("127.0.0.98")}, through: "127.0.0.99"},
		{name: "its first IP", services: []object{gatewayService(31380, "127.0.0.99", "127.0.0.97")}, through: "127.0.0.99"},
		{name: "its IPv6 address", services: []object{gatewayService(31380, "::1")}, through: "[::1]"},
		{name: "its hostname", services: []object{gatewayService(31380, "localhost")}, through: "localhost"},
		{name: "a node's address with the nodePort", services: []object{gateway}, nodes: []object{node("127.0.0.98"), node("127.0.0.97")}, through: "127.0.0.98:31380"},
		{name: "a user who may not list nodes", services: []object{gatewayService(31380, "127.0.0.99")}, noNodes: true, through: "127.0.0.99"},
		{
			name: "no address", services: []object{gateway}, noNodes: true,
			stderr: "run-test.sh: Service istio-ingressgateway in namespace istio-system has no address to reach it from here: " +
				`run "minikube tunnel", or "kubectl port-forward --namespace istio-system service/istio-ingressgateway 8080:80" and set GATEWAY=localhost:8080` + "\n",
		},
		{
			name: "no nodePort", services: []object{gatewayService(0)}, nodes: []object{node("127.0.0.98")},
			stderr: "run-test.sh: Service istio-ingressgateway in namespace istio-system has no address to reach it from here: " +
				`run "minikube tunnel", or "kubectl port-forward --namespace istio-system service/istio-ingressgateway 8080:80" and set GATEWAY=localhost:8080` + "\n",
		},
		{
			name: "another gateway's Service", services: []object{gateway}, env: []string{"INGRESSGATEWAY=kourier"},
			stderr: "run-test.sh: there is no Service kourier in namespace istio-system: set INGRESSGATEWAY and INGRESS_NAMESPACE to the gateway's (Kourier's: kourier, kourier-system)\n",
		},
		{
			name: "another namespace", services: []object{gateway}, env: []string{"INGRESS_NAMESPACE=elsewhere"},
			stderr: "run-test.sh: there is no Service istio-ingressgateway in namespace elsewhere: set INGRESSGATEWAY and INGRESS_NAMESPACE to the gateway's (Kourier's: kourier, kourier-system)\n",
		},
		{
			name: "a namespace that the user may not see", services: []object{}, noNodes: true,
			stderr: "run-test.sh: kubectl cannot ask for Service istio-ingressgateway in namespace istio-system: " +
				`Error from server (Forbidden): nodes is forbidden: User "learner" cannot list resource "nodes"` + "\n",
		},
	}
	for _, kubectl := range kubectls(t) {
		for _, tt := range tests {
			t.Run(kubectl.name+"/"+tt.name, func(t *testing.T) {
				t.Parallel()
				c := cluster{states: []object{readyService(split5050...)}, services: tt.services, nodes: tt.nodes, noNodesList: tt.noNodes}
				got := runScript(t, kubectl, c, "run-test.sh", []string{"1"}, tt.env)
				if tt.through == "" {
					if want := (result{2, "", tt.stderr}); got != want {
						t.Errorf("got\n%v\nwant\n%v", got, want)
					}
					return
				}
				first, _, _ := strings.Cut(got.stdout, "\n")
				if want := "1 requests to " + routeHost + " through " + tt.through; first != want {
					t.Errorf("got\n%v\nwant the first line\n%s", got, want)
				}
			})
		}
	}
}

func TestScriptRefuses(t *testing.T) {
	for _, n := range []string{"0", "-1", "1.5", "08", "abc", "", "1 2", "100000"} {
		got := runScript(t, kubectl{}, cluster{}, "run-test.sh", []string{n}, nil)
		if want := (result{2, "", `run-test.sh: N is a number of requests from 1 to 99999, not "` + n + `"` + "\n"}); got != want {
			t.Errorf("N %q: got\n%v\nwant\n%v", n, got, want)
		}
	}
	got := runScript(t, kubectl{}, cluster{}, "run-test.sh", []string{"1", "2"}, nil)
	if want := (result{2, "", "run-test.sh: too many arguments: -h explains\n"}); got != want {
		t.Errorf("two arguments: got\n%v\nwant\n%v", got, want)
	}
}

func TestScriptMissesTools(t *testing.T) {
	tests := []struct {
		name   string
		curl   string // script in the place of curl; empty for none
		env    []string
		stderr string
	}{
		{"no curl", "", nil, "curl is not installed"},
		{"an old curl", "echo 'curl 7.83.1 (x86_64-apple-darwin22.0) libcurl/7.83.1'", nil, "curl 7.83 is too old: 7.84 or newer is needed"},
		{"no kubectl", "echo curl 8.4.0", nil, "kubectl is not installed; without it, set GATEWAY and HOST"},
		{"no kubectl for GATEWAY alone", "echo curl 7.84.0", []string{"GATEWAY=localhost"}, "kubectl is not installed; without it, set GATEWAY and HOST"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			path := tools(t, "bash", "dirname")
			if tt.curl != "" {
				write(t, filepath.Join(path, "curl"), "#!/bin/sh\n"+tt.curl+"\n")
			}
			got := runIn(t, path, "run-test.sh", nil, tt.env)
			if want := (result{2, "", "run-test.sh: " + tt.stderr + "\n"}); got != want {
				t.Errorf("got\n%v\nwant\n%v", got, want)
			}
		})
	}
}

func TestScriptWithoutCluster(t *testing.T) {
	for _, kubectl := range kubectls(t) {
		t.Run(kubectl.name, func(t *testing.T) {
			closed := httptest.NewServer(nil)
			closed.Close()
			got, _ := runAgainst(t, kubectl, closed.URL, "run-test.sh", nil, nil)
			if got.code != 2 || got.stdout != "" || strings.Count(got.stderr, "\n") != 1 ||
				!strings.HasPrefix(got.stderr, "run-test.sh: kubectl cannot ask the cluster: The connection to the server ") {
				t.Errorf("got\n%v", got)
			}
		})
	}
}

func TestScriptCallsKubectlTwice(t *testing.T) {
	gateway := answers{from("v1"), from("v2")}.gateway(t, routeHost)
	defer gateway.Close()
	server := httptest.NewServer(&cluster{
		states:   []object{readyService(split5050...)},
		services: []object{gatewayService(gateway.Listener.Addr().(*net.TCPAddr).Port)},
		nodes:    []object{node("127.0.0.1")},
	})
	defer server.Close()
	got, calls := runAgainst(t, kubectls(t)[0], server.URL, "run-test.sh", []string{"10"}, nil)
	if got.code != 0 || calls != 2 {
		t.Errorf("%d calls, want 2:\n%v", calls, got)
	}
}

func TestScriptShowsProgressOnTerminal(t *testing.T) {
	if _, err := exec.LookPath("script"); err != nil || runtime.GOOS != "linux" {
		t.Skip("no script(1) of util-linux to make a terminal with")
	}
	gateway := answers{from("v1")}.gateway(t, "localhost")
	defer gateway.Close()
	cmd := exec.Command("script", "-qec", "./run-test.sh 3", "/dev/null")
	cmd.Env = append(os.Environ(), "GATEWAY="+gateway.Listener.Addr().String(), "HOST=localhost")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if !strings.Contains(string(out), "\r1 of 3\r2 of 3\r3 of 3\r\x1b[K") {
		t.Errorf("no progress in %q", out)
	}
}

func TestScriptSendsThroughOneConnection(t *testing.T) {
	var connections atomic.Int64
	gateway := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, "Welcome to the v1 app! \n")
	}))
	gateway.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		if s == http.StateNew {
			connections.Add(1)
		}
	}
	gateway.Start()
	defer gateway.Close()
	got := runScript(t, kubectl{}, cluster{}, "run-test.sh", []string{"200"}, []string{"HOST=localhost", "GATEWAY=" + gateway.Listener.Addr().String()})
	if got.code != 0 || connections.Load() != 1 {
		t.Errorf("%d connections for 200 requests, want 1:\n%v", connections.Load(), got)
	}
}

// kubectl is a way to run kubectl; the zero kubectl is none.
type kubectl struct{ name, path string }

// kubectls are the stub and, where it is installed, kubectl itself.
func kubectls(t *testing.T) []kubectl {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	all := []kubectl{{"stub", self}}
	path, err := exec.LookPath("kubectl")
	if err != nil {
		t.Log("kubectl is not installed: its stub alone stands for it")
		return all
	}
	return append(all, kubectl{"kubectl", path})
}

type result struct {
	code           int
	stdout, stderr string
}

func (r result) String() string {
	return fmt.Sprintf("exit %d\n-- stdout --\n%s-- stderr --\n%s", r.code, r.stdout, r.stderr)
}

func runScript(t *testing.T, k kubectl, c cluster, script string, args, env []string) result {
	server := httptest.NewServer(&c)
	defer server.Close()
	got, _ := runAgainst(t, k, server.URL, script, args, env)
	return got
}

// runAgainst returns how often the stub was called, too.
func runAgainst(t *testing.T, k kubectl, server, script string, args, env []string) (got result, calls int) {
	path := tools(t, "bash", "awk", "cat", "curl", "dirname", "mktemp", "rm", "sed", "sleep", "sort", "tail")
	home := t.TempDir()
	write(t, filepath.Join(home, ".curlrc"), "include\n") // must not matter
	config := filepath.Join(home, "config")
	write(t, config, `{"apiVersion": "v1", "kind": "Config", "current-context": "c",
		"contexts": [{"name": "c", "context": {"cluster": "c"}}],
		"clusters": [{"name": "c", "cluster": {"server": "`+server+`"}}]}`)
	called := filepath.Join(home, "calls")
	if k.path != "" {
		if err := os.Symlink(k.path, filepath.Join(path, "kubectl")); err != nil {
			t.Fatal(err)
		}
	}
	got = runIn(t, path, script, args, append([]string{"HOME=" + home, "KUBECONFIG=" + config, "STUB_SERVER=" + server, "STUB_CALLS=" + called}, env...))
	said, _ := os.ReadFile(called)
	return got, strings.Count(string(said), "\n")
}

// tools returns a folder with these programs and no others.
func tools(t *testing.T, names ...string) string {
	dir := t.TempDir()
	for _, name := range names {
		path, err := exec.LookPath(name)
		if err != nil {
			t.Skipf("%s is not installed, which the scripts need", name)
		}
		if err := os.Symlink(path, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func runIn(t *testing.T, path, script string, args, env []string) result {
	for _, name := range []string{"run-test.sh", "latest-run-test.sh"} {
		if _, err := os.ReadFile(name); err != nil { // go test's cache learns that it depends on it
			t.Fatal(err)
		}
	}
	cmd := exec.Command("bash", append([]string{"./" + script}, args...)...)
	cmd.Env = append([]string{"PATH=" + path}, env...)
	var stdout, stderr strings.Builder
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return result{cmd.ProcessState.ExitCode(), stdout.String(), stderr.String()}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
}
