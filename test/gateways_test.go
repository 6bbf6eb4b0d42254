package test

import (
	"bufio"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

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
