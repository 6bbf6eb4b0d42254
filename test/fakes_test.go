package test

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"text/template"
)

// The scripts run against a stand-in for the cluster's API server and one for
// the ingress gateway. Where kubectl is installed, each case runs with it; and
// everywhere with the stub that this test binary is under the name kubectl.

func TestMain(m *testing.M) {
	switch filepath.Base(os.Args[0]) {
	case "kubectl":
		syscall.Exit(stubKubectl(os.Args[1:])) // without what -race and -cover do at os.Exit
	case "curl":
		syscall.Exit(stubCurl(os.Args[1:]))
	}
	// the commands under test are those of the README, given where it stands
	if err := os.Chdir(".."); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}

const routeHost = "stock-service-example.default.example.com"

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

// created is a state whose latest revision is another than the one at the tag
// latest, as it is until that one is ready.
func created(revision string, state object) object {
	state["status"].(object)["latestCreatedRevisionName"] = "stock-service-example-" + revision
	return state
}

// without is a state whose status lacks a field.
func without(field string, state object) object {
	delete(state["status"].(object), field)
	return state
}

// at is a state whose route has another URL.
func at(url string, state object) object {
	state["status"].(object)["url"] = url
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

// gatewayService is the ingress gateway's Service with the addresses of its
// load balancer, IPs or names.
func gatewayService(addresses ...string) object {
	ingress := []any{}
	for _, a := range addresses {
		key := "hostname"
		if net.ParseIP(a) != nil {
			key = "ip"
		}
		ingress = append(ingress, object{key: a})
	}
	return object{
		"apiVersion": "v1", "kind": "Service",
		"metadata": object{"name": "istio-ingressgateway", "namespace": "istio-system"},
		"spec":     object{"ports": []any{object{"name": "http2", "port": 80}}},
		"status":   object{"loadBalancer": object{"ingress": ingress}},
	}
}

// cluster is what the stand-in API server knows.
type cluster struct {
	noKnative bool
	states    []object // of the Knative Service, one for each time it is asked for; nil if it is not there
	services  []object // of the namespace istio-system
	pods      []object
	asked     atomic.Int64       // how often it was asked for the Knative Service
	patched   func(state object) // sees the Service after each patch of it
	mu        sync.Mutex
}

// waitingPod is a pod whose container waits, beside its running queue-proxy.
func waitingPod(reason, message string) object {
	return object{
		"apiVersion": "v1", "kind": "Pod", "metadata": object{"name": "stock-service-example-v3-deployment-1"},
		"status": object{"containerStatuses": []any{
			object{"name": "queue-proxy", "state": object{"running": object{}}},
			object{"name": "user-container", "state": object{"waiting": object{"reason": reason, "message": message}}},
		}},
	}
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
			object{"name": "pods", "kind": "Pod", "namespaced": true}))
	case path == knative && !c.noKnative:
		reply(w, 200, resources("serving.knative.dev/v1",
			object{"name": "services", "kind": "Service", "namespaced": true, "shortNames": []string{"ksvc"}}))
	case path == knative+"/namespaces/default/services/stock-service-example" && len(c.states) > 0:
		c.asked.Add(1)
		state := c.states[0]
		if len(c.states) > 1 {
			c.states = c.states[1:]
		}
		if state == nil {
			reply(w, 404, failure(404, "NotFound", "services.serving.knative.dev not found"))
			return
		}
		reply(w, 200, state)
	case path == core+"/namespaces/default/pods" && r.URL.Query().Get("labelSelector") == "serving.knative.dev/revision=stock-service-example-v3":
		reply(w, 200, list(c.pods))
	case path == core+"/namespaces/default/pods":
		reply(w, 200, list(nil))
	case path == core+"/namespaces/istio-system/services/istio-ingressgateway" && len(c.services) > 0:
		reply(w, 200, c.services[0])
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

// stubKubectl does what the scripts use of kubectl: get KIND [NAME] and patch,
// printed by a JSONPath.
func stubKubectl(args []string) int {
	fmt.Fprintln(os.Stderr, "Warning: this is no reason to fail")
	if args[0] == "config" {
		fmt.Println("c")
		return 0
	}
	kind, name, namespace, format, selector, patch, manager := args[1], "", "", "", "", "", ""
	for i, a := range args[2:] {
		switch before := args[i+1]; {
		case i == 0 && !strings.HasPrefix(a, "-"):
			name = "/" + a
		case before == "--namespace":
			namespace = "/namespaces/" + a
		case before == "--selector":
			selector = "?labelSelector=" + url.QueryEscape(a)
		case before == "--patch":
			patch = a
		case before == "--field-manager":
			manager = "?fieldManager=" + a
		case before == "--output":
			format = strings.TrimPrefix(a, "jsonpath=")
		}
	}
	body, err := stubAsk(map[string]string{
		"ksvc":      "/apis/serving.knative.dev/v1" + namespace + "/services" + name + manager,
		"revisions": "/apis/serving.knative.dev/v1" + namespace + "/revisions" + selector,
		"pods":      "/api/v1" + namespace + "/pods" + selector,
		"service":   "/api/v1" + namespace + "/services" + name,
	}[kind], patch)
	if kind == "ksvc" && err != nil && strings.Contains(err.Error(), "NotFound") {
		if _, missing := stubAsk("/apis/serving.knative.dev/v1", ""); missing != nil {
			err = errors.New(`error: the server doesn't have a resource type "ksvc"`)
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	if text, ok := strings.CutPrefix(format, "go-template="); ok {
		if err := template.Must(template.New("").Parse(text)).Execute(os.Stdout, body); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		return 0
	}
	fmt.Print(printed(format, body))
	return 0
}

// stubAsk gets what is at path, or patches it.
func stubAsk(path, patch string) (body object, err error) {
	method := http.MethodGet
	if patch != "" {
		method = http.MethodPatch
	}
	server := os.Getenv("STUB_SERVER")
	req, err := http.NewRequest(method, server+path, strings.NewReader(patch))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/merge-patch+json")
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

var step = regexp.MustCompile(`\.(\w+)(?:\[(?:\*|\?\(@\.(\w+)=='([^']*)'\))\])?`)

// everywhere returns the values of a key at any depth.
func everywhere(key string, value any) (found []any) {
	switch value := value.(type) {
	case []any:
		for _, item := range value {
			found = append(found, everywhere(key, item)...)
		}
	case object:
		for k, v := range value {
			if k == key {
				found = append(found, v)
			}
			found = append(found, everywhere(key, v)...)
		}
	}
	return found
}

// find returns the values at a path of steps .key, .key[*] and
// .key[?(@.of=='this')]; .key of a list is the list.
func find(path string, value any) []any {
	values := []any{value}
	if path == "..['waiting','terminated']" {
		return append(everywhere("waiting", value), everywhere("terminated", value)...)
	}
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
					if of, _ := item.(object); m[2] == "" || of[m[2]] == m[3] {
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
