package test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// The scripts run against a stand-in for the cluster's API server and one for
// the ingress gateway. Where kubectl is installed, each case runs with it; and
// everywhere with the stub that this test binary is under the name kubectl.

func TestMain(m *testing.M) {
	switch filepath.Base(os.Args[0]) {
	case "kubectl":
		os.Exit(stubKubectl(os.Args[1:]))
	case "curl":
		os.Exit(stubCurl(os.Args[1:]))
	}
	// the commands under test are those of the README, given where it stands
	if err := os.Chdir(".."); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}

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
		"spec":     object{"traffic": wanted},
		"status": object{
			"observedGeneration":        observed,
			"latestCreatedRevisionName": latest,
			"url":                       "http://stock-service-example.default.example.com",
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

// secured is a state in which the route's URLs are https.
func secured(state object) object {
	text, _ := json.Marshal(state)
	var out object
	json.Unmarshal([]byte(strings.ReplaceAll(string(text), "http://", "https://")), &out)
	return out
}

var (
	allV1     = []target{{"v1", "", 100}}
	split5050 = []target{{"v1", "v1", 50}, {"v2", "v2", 50}, {"v3", "latest", 0}}
	split433  = []target{{"v1", "v1", 40}, {"v2", "v2", 30}, {"v3", "v3", 30}, {"v3", "latest", 0}}
)

// gatewayService is the ingress gateway's Service; its nodePort for 443 is the
// one for 80 plus 1, and addresses are those of its load balancer, IPs or names.
func gatewayService(nodePort int, addresses ...string) object {
	ingress := []any{}
	for _, a := range addresses {
		key := "hostname"
		if net.ParseIP(a) != nil {
			key = "ip"
		}
		ingress = append(ingress, object{key: a})
	}
	http, https := object{"name": "http2", "port": 80}, object{"name": "https", "port": 443}
	if nodePort != 0 {
		http["nodePort"], https["nodePort"] = nodePort, nodePort+1
	}
	return object{
		"apiVersion": "v1", "kind": "Service",
		"metadata": object{"name": "istio-ingressgateway", "namespace": "istio-system"},
		"spec":     object{"ports": []any{object{"name": "status-port", "port": 15021, "nodePort": 1}, http, https}},
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
	states      []object // of the Knative Service, one for each time it is asked for; nil if it is not there
	services    []object // of the namespace istio-system
	nodes       []object
	patched     func(state object) // sees the Service after each patch of it
	mu          sync.Mutex
}

func (c *cluster) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	const knative, core = "/apis/serving.knative.dev/v1", "/api/v1"
	switch path := r.URL.Path; {
	case path == "/api":
		reply(w, 200, object{"kind": "APIVersions", "versions": []string{"v1"}})
	case path == "/apis":
		reply(w, 200, c.groups())
	case path == core:
		reply(w, 200, resources("v1",
			object{"name": "services", "kind": "Service", "namespaced": true, "shortNames": []string{"svc"}},
			object{"name": "pods", "kind": "Pod", "namespaced": true},
			object{"name": "nodes", "kind": "Node", "namespaced": false}))
	case path == knative && !c.noKnative:
		reply(w, 200, resources("serving.knative.dev/v1",
			object{"name": "services", "kind": "Service", "namespaced": true, "shortNames": []string{"ksvc"}},
			object{"name": "revisions", "kind": "Revision", "namespaced": true}))
	case path == knative+"/namespaces/default/services/stock-service-example" && len(c.states) > 0:
		state := c.states[0]
		if r.Method == "PATCH" {
			c.patch(w, r)
			return
		}
		if len(c.states) > 1 {
			c.states = c.states[1:]
		}
		if state == nil {
			reply(w, 404, failure(404, "NotFound", "services.serving.knative.dev not found"))
			return
		}
		reply(w, 200, state)
	case path == knative+"/namespaces/default/revisions":
		reply(w, 200, list([]object{{"apiVersion": "serving.knative.dev/v1", "kind": "Revision", "metadata": object{"name": "stock-service-example-v1"}}}))
	case path == core+"/namespaces/default/pods":
		reply(w, 200, list([]object{{"apiVersion": "v1", "kind": "Pod", "metadata": object{"name": "stock-service-example-v1-deployment-1"}}}))
	case path == core+"/namespaces/istio-system/services/istio-ingressgateway" && len(c.services) > 0:
		reply(w, 200, c.services[0])
	case path == core+"/nodes" && !c.noNodesList:
		reply(w, 200, list(c.nodes))
	case path == core+"/nodes":
		reply(w, 403, failure(403, "Forbidden", `nodes is forbidden: User "learner" cannot list resource "nodes"`))
	case strings.HasPrefix(path, core+"/namespaces/") && strings.Count(path, "/") == 4:
		reply(w, 200, object{"apiVersion": "v1", "kind": "Namespace", "metadata": object{"name": filepath.Base(path)}})
	case strings.HasPrefix(path, core):
		reply(w, 404, failure(404, "NotFound", fmt.Sprintf("services %q not found", filepath.Base(path))))
	default:
		reply(w, 404, failure(404, "NotFound", fmt.Sprintf("services.serving.knative.dev %q not found", filepath.Base(path))))
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
		r["singularName"], r["verbs"] = "", []string{"get", "list", "patch", "watch"}
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

// stubKubectl does what the scripts use of kubectl: get KIND [NAME], of one
// object or a list, printed by a JSONPath or as the names alone, and patch.
func stubKubectl(args []string) int {
	fmt.Fprintln(os.Stderr, "Warning: this is no reason to fail")
	if calls, err := os.OpenFile(os.Getenv("STUB_CALLS"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600); err == nil {
		fmt.Fprintln(calls, args[1])
		calls.Close()
	}
	kinds, name, namespace, format, patch := strings.Split(args[1], ","), "", "", "", ""
	for i, a := range args[2:] {
		switch {
		case i == 0 && !strings.HasPrefix(a, "-"):
			name = "/" + a
		case args[i+1] == "--namespace":
			namespace = "/namespaces/" + a
		case args[i+1] == "--patch":
			patch = a
		}
		if after, ok := strings.CutPrefix(a, "jsonpath="); ok {
			format = after
		}
	}
	paths := map[string]string{
		"ksvc":      "/apis/serving.knative.dev/v1" + namespace + "/services" + name,
		"revisions": "/apis/serving.knative.dev/v1" + namespace + "/revisions",
		"pods":      "/api/v1" + namespace + "/pods",
		"service":   "/api/v1" + namespace + "/services" + name,
		"nodes":     "/api/v1/nodes",
	}
	for _, kind := range kinds {
		if err := stubAsk(kind, paths[kind], patch, format); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
	}
	return 0
}

func stubAsk(kind, path, patch, format string) error {
	ask := func(method, path string) (body object, err error) {
		server := os.Getenv("STUB_SERVER")
		req, err := http.NewRequest(method, server+path, strings.NewReader(patch))
		if err != nil {
			return nil, err
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return nil, fmt.Errorf("The connection to the server %s was refused - did you specify the right host or port?", server)
		}
		defer resp.Body.Close()
		decoder := json.NewDecoder(resp.Body)
		decoder.UseNumber()
		err = decoder.Decode(&body)
		if body["kind"] == "Status" {
			return nil, fmt.Errorf("Error from server (%s): %s", body["reason"], body["message"])
		}
		return body, err
	}
	if kind == "ksvc" {
		if _, err := ask("GET", "/apis/serving.knative.dev/v1"); err != nil && strings.Contains(err.Error(), "NotFound") {
			return errors.New(`error: the server doesn't have a resource type "ksvc"`)
		}
	}
	method := "GET"
	if patch != "" {
		method = "PATCH"
	}
	body, err := ask(method, path)
	if err != nil {
		return err
	}
	if format == "" {
		for _, item := range body["items"].([]any) {
			fmt.Println(item.(object)["metadata"].(object)["name"])
		}
		return nil
	}
	fmt.Print(printed(format, body))
	return nil
}

// printed is what kubectl's JSONPath makes of value, as far as the scripts use
// it: text, {path} and {range path}...{end}.
func printed(format string, value any) string {
	var out strings.Builder
	for {
		text, rest, found := strings.Cut(format, "{")
		out.WriteString(text)
		if !found {
			return out.String()
		}
		path, rest, _ := strings.Cut(rest, "}")
		if over, isRange := strings.CutPrefix(path, "range "); isRange {
			var each string
			each, rest, _ = strings.Cut(rest, "{end}")
			for _, v := range find(over, value) {
				out.WriteString(printed(each, v))
			}
		} else {
			for i, v := range find(path, value) {
				if i > 0 {
					out.WriteByte(' ')
				}
				if _, ok := v.([]any); ok {
					v = asJSON(v)
				}
				fmt.Fprint(&out, v)
			}
		}
		format = rest
	}
}

var step = regexp.MustCompile(`\.(\w+)(?:\[(?:\*|\?\(@\.(\w+)=='?([^')]*)'?\))\])?`)

// find returns the values at a path of steps .key, .key[*] and
// .key[?(@.of=='this')]; .key of a list is the list.
func find(path string, value any) []any {
	values := []any{value}
	for _, m := range step.FindAllStringSubmatch(path, -1) {
		var next []any
		for _, v := range values {
			switch field := v.(object)[m[1]].(type) {
			case nil:
			case []any:
				if !strings.HasSuffix(m[0], "]") {
					next = append(next, field)
					continue
				}
				for _, item := range field {
					if m[2] == "" || fmt.Sprint(item.(object)[m[2]]) == m[3] {
						next = append(next, item)
					}
				}
			default:
				next = append(next, field)
			}
		}
		values = next
	}
	return values
}

// stubCurl answers as many requests as STUB_ANSWERS says, "v1:70 v2:30",
// without a network: for thousands of answers in no time.
func stubCurl(args []string) int {
	if args[0] == "--help" {
		fmt.Println("     --rate <max request rate>")
		return 0
	}
	format := ""
	for i, a := range args {
		if a == "--write-out" {
			format = strings.TrimPrefix(strings.ReplaceAll(args[i+1], `\n`, "\n"), "%{stderr}")
		}
	}
	for _, part := range strings.Fields(os.Getenv("STUB_ANSWERS")) {
		revision, n, _ := strings.Cut(part, ":")
		line := strings.NewReplacer("%{exitcode}", "0", "%{http_code}", "200", "%{time_total}", "0.001", "%{errormsg}", "",
			"%header{x-revision}", "stock-service-example-"+revision, "%header{x-pod}", "", "%header{x-rehearsal}", "").Replace(format)
		var count int
		fmt.Sscan(n, &count)
		io.WriteString(os.Stdout, strings.Repeat(line, count))
	}
	return 0
}

// answers is a stand-in gateway: it gives one of its answers after the other,
// over and over.
type answers []answer

type answer struct {
	status         int
	revision, text string
	header         string // one more, as "Name: value"
	way            way
}

// way is how an answer goes wrong.
type way int

const (
	whole     way = iota
	noAnswer      // the connection is closed without one
	truncated     // closed in the middle of the body
	reset         // reset in the middle of the body
	stalled       // left open in the middle of the body
	silent        // left open without an answer
)

// from is the current image's answer of the revision stock-service-example-x,
// and old that of an image without X-Revision.
func from(x string) answer {
	return answer{status: 200, revision: "stock-service-example-" + x, text: "Welcome to the " + x + " app! \n"}
}
func old(x string) answer { return answer{status: 200, text: "Welcome to the " + x + " app! \n"} }

func (a answer) with(status int) answer      { a.status = status; return a }
func (a answer) going(w way) answer          { a.way = w; return a }
func (a answer) saying(header string) answer { a.header = header; return a }

func times(n int, all ...answer) answers {
	var repeated answers
	for range n {
		repeated = append(repeated, all...)
	}
	return repeated
}

func (a answers) ServeHTTP(w http.ResponseWriter, r *http.Request, n int) {
	answer := a[n%len(a)]
	if answer.way == silent {
		hang(r)
	}
	if answer.way == noAnswer {
		panic(http.ErrAbortHandler)
	}
	if answer.revision != "" {
		w.Header().Set("X-Revision", answer.revision)
	}
	if name, value, ok := strings.Cut(answer.header, ": "); ok {
		w.Header().Set(name, value)
	}
	if answer.way != whole {
		w.Header().Set("Content-Length", fmt.Sprint(len(answer.text)+100))
	}
	w.WriteHeader(answer.status)
	io.WriteString(w, answer.text)
	if answer.way == whole {
		return
	}
	http.NewResponseController(w).Flush()
	switch answer.way {
	case stalled:
		hang(r)
	case reset:
		if conn, _, err := http.NewResponseController(w).Hijack(); err == nil {
			conn.(*net.TCPConn).SetLinger(0)
			conn.Close()
		}
	}
	panic(http.ErrAbortHandler)
}

// hang holds a request until its client leaves.
func hang(r *http.Request) {
	select {
	case <-r.Context().Done():
	case <-time.After(time.Minute):
	}
	panic(http.ErrAbortHandler)
}

// gateway serves the answers to requests for the path / of host.
func (a answers) gateway(t *testing.T, host string) *httptest.Server {
	return httptest.NewServer(a.handler(t, host, "/"))
}

func (a answers) handler(t *testing.T, host, path string) http.Handler {
	var n atomic.Int64
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Host != host || r.URL.RequestURI() != path || r.Method != "GET" {
			t.Errorf("the gateway got %s %s of host %s, want GET %s of %s", r.Method, r.RequestURI, r.Host, path, host)
		}
		a.ServeHTTP(w, r, int(n.Add(1)-1))
	})
}

const routeHost = "stock-service-example.default.example.com"
