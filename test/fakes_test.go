package test

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
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
	flag.Set("test.parallel", strconv.Itoa(2*runtime.NumCPU())) // they wait more than they work
	os.Exit(m.Run())
}

const (
	coreAPI    = "/api/v1"
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
	s.latest, s.edited, s.url = cmp.Or(s.latest, "v3"), cmp.Or(s.edited, 1), cmp.Or(s.url, "http://"+routeHost)
	status := object{
		"observedGeneration": cmp.Or(s.seen, s.edited), "latestCreatedRevisionName": s.latest, "url": s.url,
		"conditions": []any{object{"type": "ConfigurationsReady", "status": "True"}, condition("Ready", cmp.Or(s.ready, "True")),
			condition("RoutesReady", cmp.Or(s.routes, s.ready, "True"))},
		"traffic": entries(cmp.Or(s.status, strings.ReplaceAll(s.spec, "@latest", s.latest)), s.url),
	}
	if s.url == "-" {
		delete(status, "url")
	}
	return object{
		"apiVersion": "serving.knative.dev/v1", "kind": "Service", "spec": object{"traffic": entries(s.spec, "")}, "status": status,
		"metadata": object{"name": "stock-service-example", "namespace": "default", "generation": s.edited},
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
		e := object{"revisionName": part[0], "latestRevision": part[0] == "@latest"}
		if part[0] == "@latest" {
			delete(e, "revisionName")
		}
		if percent, _ := strconv.Atoi(part[2]); percent > 0 {
			e["percent"] = percent
		}
		if part[1] != "" {
			e["tag"], e["url"] = part[1], strings.Replace(url, "://", "://"+part[1]+"-", 1)
		}
		all = append(all, e)
	}
	return all
}

// gateway is the ingress gateway's Service: the addresses of its load balancer,
// ip=ADDRESS or hostname=NAME each, and its ports, NAME=PORT each.
func gateway(addresses, ports string) object {
	list := func(text, entry string) json.RawMessage {
		entries := regexp.MustCompile(`(\S+)=(\S+)`).ReplaceAllString(text, entry)
		return json.RawMessage("[" + strings.ReplaceAll(entries, " ", ",") + "]")
	}
	return object{"kind": "Service", "spec": object{"ports": list(ports, `{"name":"$1","port":$2}`)},
		"status": object{"loadBalancer": object{"ingress": list(addresses, `{"$1":"$2"}`)}}}
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
	switch path := r.URL.Path; path {
	case knativeAPI + "/namespaces/default/services/stock-service-example":
		n := int(c.asked.Add(1))
		if c.fault != nil && c.fault(n, r) {
			reply(w, 500, failure(500, "InternalError", "etcd is away"))
			return
		}
		reply(w, 200, c.states[min(n, len(c.states))-1].object())
	case coreAPI + "/namespaces/default/pods":
		items := []object{}
		if reason, message, ok := strings.Cut(c.pods, " "); ok && strings.HasSuffix(r.FormValue("labelSelector"), "=v3") {
			states := []any{object{"state": object{"running": object{}}}, object{"state": object{"waiting": object{"reason": reason, "message": message}}}}
			items = append(items, object{"apiVersion": "v1", "kind": "Pod", "metadata": object{"name": "p"}, "status": object{"containerStatuses": states}})
		}
		reply(w, 200, list(items))
	case coreAPI + "/namespaces/istio-system/services/istio-ingressgateway":
		reply(w, 200, c.gateway)
	default:
		if known, ok := discovery[path]; ok {
			reply(w, 200, known)
			return
		}
		reply(w, 404, failure(404, "NotFound", fmt.Sprintf("%q not found", filepath.Base(path))))
	}
}

// discovery is what kubectl itself asks for first.
var discovery = map[string]object{
	"/api": {"kind": "APIVersions", "versions": []string{"v1"}},
	"/apis": {"kind": "APIGroupList", "apiVersion": "v1", "groups": []any{
		object{"name": "serving.knative.dev", "versions": []any{object{"groupVersion": "serving.knative.dev/v1", "version": "v1"}}}}},
	coreAPI:    resources("v1", "services Service", "pods Pod"),
	knativeAPI: resources("serving.knative.dev/v1", "services Service ksvc"),
}

func resources(version string, names ...string) object {
	var all []object
	for _, name := range names {
		part := strings.Fields(name)
		all = append(all, object{"name": part[0], "kind": part[1], "shortNames": part[2:], "singularName": "", "namespaced": true, "verbs": []string{"get"}})
	}
	return object{"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": version, "resources": all}
}

func list(items []object) object {
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
// a go-template, and patch with a merge patch. Its one context is c.
func stubKubectl(args []string) int {
	flags, words := map[string]string{"context": "c"}, []string{}
	for i := 0; i < len(args); i++ {
		name, isFlag := strings.CutPrefix(args[i], "--")
		if !isFlag {
			words = append(words, args[i])
		} else if !strings.Contains(name, "=") {
			i++
			flags[name] = args[i]
		}
	}
	if words[0] == "config" {
		fmt.Println("c")
		return 0
	}
	of := map[string][]string{"service": {coreAPI, "services"}, "pods": {coreAPI, "pods"}, "ksvc": {knativeAPI, "services"}, "revisions": {knativeAPI, "revisions"}}[words[1]]
	path := strings.Join(append([]string{of[0], "namespaces", flags["namespace"], of[1]}, words[2:]...), "/")
	query := url.Values{"labelSelector": {flags["selector"]}, "fieldManager": {flags["field-manager"]}}
	req, err := http.NewRequest(strings.ToUpper(words[0]), os.Getenv("STUB_SERVER")+path+"?"+query.Encode(), strings.NewReader(flags["patch"]))
	if flags["context"] != "c" {
		err = fmt.Errorf("error: context %q does not exist", flags["context"])
	}
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
	var body object
	if err := json.NewDecoder(resp.Body).Decode(&body); err != nil || body["kind"] == "Status" {
		return fmt.Errorf("Error from server (%s): %s", body["reason"], body["message"])
	}
	return template.Must(template.New("").Parse(format)).Execute(os.Stdout, body)
}

// answers is a stand-in gateway: it gives one of its answers after the other,
// over and over.
type answers []answer

type answer struct {
	revision, text string
	header         string        // that names the revision, if not X-Revision
	status         int           // 200 unless given
	wait           time.Duration // before it
}

func from(revision string) answer {
	return answer{revision: revision, text: "Welcome to the " + revision + " app! \n"}
}

func times(n int, a answer) answers { return slices.Repeat(answers{a}, n) }

// handler serves the answers to requests for a path of a host, each on a
// connection of its own: on one at hand a client, and so curl, would quietly
// ask again, were it to break.
func (a answers) handler(t *testing.T, host, path string) http.Handler {
	var n atomic.Int64
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Host != host || r.URL.RequestURI() != path || !r.Close {
			t.Errorf("the gateway got %s of host %s, close %v; want %s of %s, close", r.RequestURI, r.Host, r.Close, path, host)
		}
		a[int(n.Add(1)-1)%len(a)].ServeHTTP(w, r)
	})
}

func (a answer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	select {
	case <-r.Context().Done(): // its client has left
	case <-time.After(a.wait):
	}
	w.Header().Set(cmp.Or(a.header, "X-Revision"), a.revision)
	w.WriteHeader(cmp.Or(a.status, 200))
	io.WriteString(w, a.text)
}

// run is a run of a script beside a cluster and a gateway.
type run struct {
	name    string
	script  string // run-test.sh unless given
	args    string
	cluster *cluster
	answers answers
	gateway http.Handler // in place of answers
	host    string       // routeHost, or localhost without a cluster, unless given
	env     []string
	code    int
	out     string // standard output, with … for what differs from run to run; of many requests without the first line
	err     string // standard error, likewise, without the script's name before each line
}

// serving is a cluster whose Service has these states, one after the other.
func serving(states ...ksvc) *cluster { return &cluster{states: states} }

func check(t *testing.T, runs []run) {
	t.Parallel()
	for _, r := range runs {
		t.Run(r.name, func(t *testing.T) {
			t.Parallel()
			r.check(t, stub)
		})
	}
}

func (r run) check(t *testing.T, kubectl string) {
	t.Helper()
	path, host, server, env := "/", cmp.Or(r.host, routeHost), "http://"+closedPort(t), r.env
	if _, after, ok := strings.Cut(r.args, "--path "); ok {
		path, _, _ = strings.Cut(after, " ")
	}
	if r.cluster == nil {
		host = cmp.Or(r.host, "localhost")
		env = append([]string{"DOMAIN_NAME=" + host}, env...)
	} else {
		api := httptest.NewServer(r.cluster)
		defer api.Close()
		server = api.URL
	}
	if r.gateway == nil {
		r.gateway = r.answers.handler(t, host, path)
	}
	gateway := httptest.NewServer(r.gateway)
	defer gateway.Close()
	tmp := t.TempDir()
	env = append([]string{"GATEWAY=" + gateway.Listener.Addr().String(), "TMPDIR=" + tmp}, env...)
	got := finished(t, command(t, kubectl, server, "./"+cmp.Or(r.script, "run-test.sh"), strings.Fields(r.args), env))
	noneLeft(t, tmp)
	got.stderr = strings.ReplaceAll(got.stderr, "run-test.sh: ", "")
	got.stderr = regexp.MustCompile(`(?m)^waiting for .*\n|^.* Killed .*\n`).ReplaceAllString(got.stderr, "") // of a slow machine, and of bash
	if first, rest, ok := strings.Cut(got.stdout, "\n\n"); ok && strings.Contains(first, " requests to ") {
		got.stdout = rest
	}
	if got.code != r.code || !like(r.out, got.stdout) || !like(r.err, got.stderr) {
		t.Errorf("%s: got\n%v\nwant\n%v", r.name, got, result{r.code, r.out, r.err})
	}
}

// like tells if got is want, with anything in the place of each … on its line.
func like(want, got string) bool {
	pattern := strings.ReplaceAll(regexp.QuoteMeta(want), "…", ".*")
	return regexp.MustCompile("^" + pattern + "$").MatchString(got)
}

type result struct {
	code           int
	stdout, stderr string
}

func (r result) String() string {
	return fmt.Sprintf("exit %d\n-- stdout --\n%s-- stderr --\n%s", r.code, r.stdout, r.stderr)
}

// stub is the kubectl of most tests, this program.
var stub, _ = os.Executable()

// command reads the scripts, so that go test sees when they have changed.
func command(t *testing.T, kubectl, server, script string, args, env []string) *exec.Cmd {
	for _, name := range glob(t, "scripts/*", "*run-test.sh") {
		read(t, name)
	}
	path, home := tools(t), t.TempDir()
	link(t, kubectl, filepath.Join(path, "kubectl"))
	write(t, filepath.Join(home, ".curlrc"), "include\n") // must not matter
	config := filepath.Join(home, "config")
	write(t, config, `{"apiVersion": "v1", "kind": "Config", "current-context": "c",
		"contexts": [{"name": "c", "context": {"cluster": "c"}}], "clusters": [{"name": "c", "cluster": {"server": "`+server+`"}}]}`)
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute) // on a busy machine
	t.Cleanup(cancel)
	cmd := exec.CommandContext(ctx, "bash", append([]string{script}, args...)...)
	cmd.Stdin, cmd.WaitDelay = strings.NewReader("42\n"), 5*time.Second // for children that outlive it
	cmd.Env = append([]string{"PATH=" + path, "HOME=" + home, "KUBECONFIG=" + config, "STUB_SERVER=" + server}, env...)
	return cmd
}

// tools returns a folder with the programs that the scripts call, but for
// kubectl, and no others.
func tools(t *testing.T) string {
	dir := t.TempDir()
	for name := range strings.FieldsSeq("awk bash cat curl dirname grep mktemp mv readlink rm sed sh sleep stty tail tr") {
		path, err := exec.LookPath(name)
		if err != nil {
			t.Skipf("%s is not installed, which the scripts need", name)
		}
		link(t, path, filepath.Join(dir, name))
	}
	return dir
}

func finished(t *testing.T, cmd *exec.Cmd) result {
	t.Helper()
	var stdout, stderr strings.Builder
	if cmd.Stdout == nil {
		cmd.Stdout = &stdout
	}
	cmd.Stderr = &stderr
	err := cmd.Run()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return result{cmd.ProcessState.ExitCode(), stdout.String(), stderr.String()}
}

// noneLeft fails if a process with that TMPDIR still runs, or left a file in it.
func noneLeft(t *testing.T, tmp string) {
	t.Helper()
	var left []string
	for end := time.Now().Add(5 * time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		left = nil
		environs, _ := filepath.Glob("/proc/[0-9]*/environ")
		for _, path := range environs {
			if environ, _ := os.ReadFile(path); strings.Contains(string(environ), "TMPDIR="+tmp+"\x00") {
				command, _ := os.ReadFile(filepath.Dir(path) + "/cmdline")
				left = append(left, string(command))
			}
		}
		if left == nil {
			break
		}
	}
	if files, _ := os.ReadDir(tmp); left != nil || len(files) > 0 {
		t.Errorf("left are the processes %q and the files %v", left, files)
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

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
}

func link(t *testing.T, from, to string) {
	t.Helper()
	if err := os.Symlink(from, to); err != nil {
		t.Fatal(err)
	}
}
