package test

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"text/template"
	"time"
)

// The scripts run beside stand-ins for the cluster's API server and for the
// ingress gateway, with this test binary under the name kubectl. One test runs
// with kubectl itself, where it is installed.

func TestMain(m *testing.M) {
	if filepath.Base(os.Args[0]) == "kubectl" {
		syscall.Exit(stubKubectl(os.Args[1:])) // without what -race and -cover do at os.Exit
	}
	// the commands under test are those of the README, given where it stands
	if err := os.Chdir(".."); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}

const (
	knativeAPI = "/apis/serving.knative.dev/v1"
	routeHost  = "stock-service-example.default.example.com"
)

// object is a Kubernetes object, as JSON has it.
type object = map[string]any

// ksvc is a state of the Knative Service stock-service-example. Its traffic is
// REVISION,TAG,PERCENT for each entry, with @latest in the spec for what
// follows the latest revision. A field that is not given is what it is where
// all is well.
type ksvc struct {
	spec, status  string
	latest        string // v3
	edited, seen  int    // generations
	ready, routes string // STATUS REASON MESSAGE of these conditions
	url           string // "-" for none
}

func (s ksvc) object() object {
	s.latest, s.url = cmp.Or(s.latest, "v3"), cmp.Or(s.url, "http://"+routeHost)
	s.edited = cmp.Or(s.edited, 1)
	s.status = cmp.Or(s.status, strings.ReplaceAll(s.spec, "@latest", s.latest))
	status := object{
		"observedGeneration": cmp.Or(s.seen, s.edited), "latestCreatedRevisionName": s.latest, "url": s.url,
		"conditions": []any{object{"type": "ConfigurationsReady", "status": "True"}, condition("Ready", cmp.Or(s.ready, "True")),
			condition("RoutesReady", cmp.Or(s.routes, s.ready, "True"))},
		"traffic": entries(s.status, s.url),
	}
	if s.url == "-" {
		delete(status, "url")
	}
	return object{
		"apiVersion": "serving.knative.dev/v1", "kind": "Service",
		"metadata": object{"name": "stock-service-example", "namespace": "default", "generation": s.edited},
		"spec":     object{"traffic": entries(s.spec, "")},
		"status":   status,
	}
}

func condition(kind, words string) object {
	status, rest, _ := strings.Cut(words, " ")
	reason, message, _ := strings.Cut(rest, " ")
	c := object{"type": kind, "status": status}
	if reason != "" {
		c["reason"], c["message"] = reason, message
	}
	return c
}

func entries(traffic, url string) []any {
	all := []any{}
	for entry := range strings.FieldsSeq(traffic) {
		part := strings.Split(entry, ",")
		e := object{"revisionName": part[0]}
		if part[0] == "@latest" {
			e = object{"latestRevision": true}
		}
		if percent, _ := strconv.Atoi(part[2]); percent > 0 {
			e["percent"] = percent
		}
		if part[1] != "" {
			e["tag"] = part[1]
			if url != "" {
				e["url"] = strings.Replace(url, "://", "://"+part[1]+"-", 1)
			}
		}
		all = append(all, e)
	}
	return all
}

// gateway is the ingress gateway's Service: the addresses of its load balancer,
// IPs or names, and its ports, NAME:PORT each.
func gateway(addresses, ports string) object {
	ingress, all := []any{}, []any{}
	for a := range strings.FieldsSeq(addresses) {
		key := "hostname"
		if net.ParseIP(a) != nil {
			key = "ip"
		}
		ingress = append(ingress, object{key: a})
	}
	for p := range strings.FieldsSeq(ports) {
		name, port, _ := strings.Cut(p, ":")
		number, _ := strconv.Atoi(port)
		all = append(all, object{"name": name, "port": number})
	}
	return object{
		"apiVersion": "v1", "kind": "Service", "metadata": object{"name": "istio-ingressgateway", "namespace": "istio-system"},
		"spec": object{"ports": all}, "status": object{"loadBalancer": object{"ingress": ingress}},
	}
}

// cluster is what the stand-in API server knows.
type cluster struct {
	states  []ksvc                            // one for each time it is asked for
	gateway object                            // the Service istio-ingressgateway
	pods    string                            // REASON MESSAGE of a waiting pod of v3
	fault   func(n int, r *http.Request) bool // tells at each question for the Service that it answers with an error
	asked   atomic.Int64
}

func (c *cluster) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	const core = "/api/v1"
	switch path := r.URL.Path; path {
	case "/api":
		reply(w, 200, object{"kind": "APIVersions", "versions": []string{"v1"}})
	case "/apis":
		version := object{"groupVersion": "serving.knative.dev/v1", "version": "v1"}
		group := object{"name": "serving.knative.dev", "versions": []any{version}, "preferredVersion": version}
		reply(w, 200, object{"kind": "APIGroupList", "apiVersion": "v1", "groups": []any{group}})
	case core:
		reply(w, 200, resources("v1", object{"name": "services", "kind": "Service", "namespaced": true},
			object{"name": "pods", "kind": "Pod", "namespaced": true}))
	case knativeAPI:
		reply(w, 200, resources("serving.knative.dev/v1",
			object{"name": "services", "kind": "Service", "namespaced": true, "shortNames": []string{"ksvc"}}))
	case knativeAPI + "/namespaces/default/services/stock-service-example":
		n := int(c.asked.Add(1))
		if c.fault != nil && c.fault(n, r) {
			reply(w, 500, failure(500, "InternalError", "etcd is away"))
			return
		}
		reply(w, 200, c.states[min(n, len(c.states))-1].object())
	case core + "/namespaces/default/pods":
		var items []object
		if reason, message, ok := strings.Cut(c.pods, " "); ok && strings.HasSuffix(r.FormValue("labelSelector"), "=v3") {
			items = append(items, object{"apiVersion": "v1", "kind": "Pod", "metadata": object{"name": "p"}, "status": object{"containerStatuses": []any{
				object{"state": object{"running": object{"startedAt": "2026-11-27T00:00:00Z"}}},
				object{"state": object{"waiting": object{"reason": reason, "message": message}}},
			}}})
		}
		reply(w, 200, list(items))
	case core + "/namespaces/istio-system/services/istio-ingressgateway":
		reply(w, 200, c.gateway)
	default:
		reply(w, 404, failure(404, "NotFound", fmt.Sprintf("%q not found", filepath.Base(path))))
	}
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

// stubKubectl does what the scripts use of kubectl: get KIND [NAME], printed by
// a go-template, and patch with a merge patch.
func stubKubectl(args []string) int {
	flags, words := map[string]string{}, []string{}
	for i := 0; i < len(args); i++ {
		name, isFlag := strings.CutPrefix(args[i], "--")
		if !isFlag {
			words = append(words, args[i])
		} else if name, value, ok := strings.Cut(name, "="); ok {
			flags[name] = value
		} else {
			i++
			flags[name] = args[i]
		}
	}
	if words[0] == "config" {
		fmt.Println("c")
		return 0
	}
	api, resource := knativeAPI, "services"
	switch words[1] {
	case "service", "pods":
		api, resource = "/api/v1", strings.TrimSuffix(words[1], "s")+"s"
	case "revisions":
		resource = "revisions"
	}
	query := url.Values{"labelSelector": {flags["selector"]}, "fieldManager": {flags["field-manager"]}}
	path := api + "/namespaces/" + flags["namespace"] + "/" + resource
	for _, name := range words[2:] {
		path += "/" + name
	}
	method := http.MethodGet
	if words[0] == "patch" {
		method = http.MethodPatch
	}
	req, err := http.NewRequest(method, os.Getenv("STUB_SERVER")+path+"?"+query.Encode(), strings.NewReader(flags["patch"]))
	if err == nil {
		req.Header.Set("Content-Type", "application/merge-patch+json")
		err = stubPrint(req, strings.TrimPrefix(flags["output"], "go-template="))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

func stubPrint(req *http.Request, format string) error {
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return fmt.Errorf("The connection to the server %s was refused - did you specify the right host or port?", req.URL.Host)
	}
	defer resp.Body.Close()
	var body object
	if err := json.NewDecoder(resp.Body).Decode(&body); err != nil {
		return err
	}
	if body["kind"] == "Status" {
		return fmt.Errorf("Error from server (%s): %s", body["reason"], body["message"])
	}
	return template.Must(template.New("").Parse(format)).Execute(os.Stdout, body)
}

// answers is a stand-in gateway: it gives one of its answers after the other,
// over and over.
type answers []answer

type answer struct {
	status         int
	revision, text string
	header         string // one more, as "Name: value"
	wait           time.Duration
	raw            string // the whole of it, instead of all that
	way            way
}

// way is how an answer goes wrong.
type way int

const (
	whole     way = iota
	noAnswer      // the connection is closed without one
	truncated     // closed in the middle of the body
	stalled       // left open in the middle of the body
	silent        // left open without an answer
)

func from(revision string) answer {
	return answer{status: 200, revision: revision, text: "Welcome to the " + revision + " app! \n"}
}

func (a answer) with(status int) answer       { a.status = status; return a }
func (a answer) going(w way) answer           { a.way = w; return a }
func (a answer) saying(header string) answer  { a.header = header; return a }
func (a answer) after(d time.Duration) answer { a.wait = d; return a }

func times(n int, all ...answer) (repeated answers) {
	for range n {
		repeated = append(repeated, all...)
	}
	return repeated
}

// handler serves the answers to requests for a path of a host.
func (a answers) handler(t *testing.T, host, path string) http.Handler {
	var n atomic.Int64
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Host != host || r.URL.RequestURI() != path {
			t.Errorf("the gateway got %s of host %s, want %s of %s", r.RequestURI, r.Host, path, host)
		}
		a[int(n.Add(1)-1)%len(a)].ServeHTTP(w, r)
	})
}

func (a answer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	time.Sleep(a.wait)
	switch {
	case a.way == silent:
		hang(r)
	case a.way == noAnswer:
		panic(http.ErrAbortHandler)
	case a.raw != "":
		if conn, _, err := http.NewResponseController(w).Hijack(); err == nil {
			io.WriteString(conn, a.raw)
			conn.Close()
		}
		return
	}
	if a.revision != "" {
		w.Header().Set("X-Revision", a.revision)
	}
	if name, value, ok := strings.Cut(a.header, ": "); ok {
		w.Header().Set(name, value)
	}
	if a.way != whole {
		w.Header().Set("Content-Length", fmt.Sprint(len(a.text)+100))
	}
	w.WriteHeader(a.status)
	io.WriteString(w, a.text)
	if a.way == whole {
		return
	}
	http.NewResponseController(w).Flush()
	if a.way == stalled {
		hang(r)
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
