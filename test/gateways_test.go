package test

import (
	"bufio"
	"bytes"
	"cmp"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

func TestScriptFindsGateway(t *testing.T) {
	plain, https := readyService(split5050...), secured(readyService(split5050...))
	external, both := gatewayService(), gatewayService("127.0.0.99")
	external["spec"].(object)["externalIPs"] = []any{"127.0.0.98", "127.0.0.97"}
	both["spec"].(object)["externalIPs"] = []any{"127.0.0.98"}
	ipAndName := gatewayService("127.0.0.99")
	ipAndName["status"].(object)["loadBalancer"].(object)["ingress"].([]any)[0].(object)["hostname"] = "localhost"
	const (
		noAddress = "Service istio-ingressgateway in namespace istio-system has no load balancer: run \"minikube tunnel\", or set GATEWAY to node:nodePort or to " +
			"http://localhost:8081 for \"kubectl port-forward -n istio-system service/istio-ingressgateway 8081:80\""
		kourier = " (for Kourier set INGRESSGATEWAY=kourier INGRESS_NAMESPACE=kourier-system): Error from server (NotFound): services "
	)
	tests := []struct {
		name    string
		service object // the Knative one
		gateway object
		env     []string
		through string // address that it sends to
		to      string // URL that it asks, http://routeHost unless given
		stderr  string // if it finds none
	}{
		{name: "GATEWAY", service: plain, gateway: gatewayService("127.0.0.99"), env: []string{"GATEWAY=127.0.0.97:1"}, through: "127.0.0.97:1"},
		{name: "the load balancer's IP", service: plain, gateway: gatewayService("127.0.0.99"), through: "127.0.0.99"},
		{name: "for a host of one's own", service: plain, gateway: gatewayService("127.0.0.99"), env: []string{"DOMAIN_NAME=stocks.example.org"}, to: "http://stocks.example.org", through: "127.0.0.99"},
		{name: "with https, too", service: https, gateway: gatewayService("127.0.0.99"), to: "https://" + routeHost, through: "127.0.0.99"},
		{name: "its first IP", service: plain, gateway: gatewayService("127.0.0.99", "127.0.0.97"), through: "127.0.0.99"},
		{name: "its IPv6 address", service: plain, gateway: gatewayService("::1"), through: "[::1]"},
		{name: "its hostname", service: plain, gateway: gatewayService("localhost"), through: "localhost"},
		{name: "an IP with a hostname", service: plain, gateway: ipAndName, through: "127.0.0.99"},
		{name: "an external IP", service: plain, gateway: external, through: "127.0.0.98"},
		{name: "both", service: plain, gateway: both, through: "127.0.0.99"},
		{name: "none", service: plain, gateway: gatewayService(), stderr: noAddress},
		{
			name: "another gateway's Service", service: plain, gateway: gatewayService(), env: []string{"INGRESSGATEWAY=another"},
			stderr: "kubectl cannot get the gateway's Service another in namespace istio-system" + kourier + `"another" not found`,
		},
		{
			name: "another namespace", service: plain, gateway: gatewayService(), env: []string{"INGRESS_NAMESPACE=elsewhere"},
			stderr: "kubectl cannot get the gateway's Service istio-ingressgateway in namespace elsewhere" + kourier + `"istio-ingressgateway" not found`,
		},
	}
	for _, kubectl := range kubectls(t) {
		for _, tt := range tests {
			t.Run(kubectl.name+"/"+tt.name, func(t *testing.T) {
				t.Parallel()
				c := &cluster{states: []object{tt.service}, services: []object{tt.gateway}}
				got := runScript(t, kubectl, c, "./run-test.sh", []string{"2"}, tt.env)
				if tt.through == "" {
					if want := (result{2, "", said(tt.stderr + "\n")}); got != want {
						t.Errorf("got\n%v\nwant\n%v", got, want)
					}
					return
				}
				first, _, _ := strings.Cut(got.stdout, "\n")
				if want := "2 requests to " + cmp.Or(tt.to, "http://"+routeHost) + "/ through " + tt.through; first != want {
					t.Errorf("got\n%v\nwant the first line\n%s", got, want)
				}
			})
		}
	}
}

// It gives up on a gateway that is gone, on one that accepts and is silent, and
// on bodies that stall, but not for one of these among others.
func TestScriptGivesUp(t *testing.T) {
	gone := closedPort(t)
	const elsewhere = "set GATEWAY to an address of the gateway, with http:// where it takes no https\n"
	tests := []struct {
		name    string
		answers answers // none: the gateway is gone
		n       string
		stderr  string
	}{
		{"gone", nil, "99999", `gave up after … of 99999 requests
… of … requests failed: no answer (Failed to connect to 127.0.0.1 port ` + strings.TrimPrefix(gone, "127.0.0.1:") + `: Couldn't connect to server)
` + elsewhere},
		{"silence", answers{from("v1").going(silent)}, "200", `gave up after … of 200 requests
… of … requests failed: connected, but no answer within 2 s
`},
		{"silence in the middle", append(times(3, from("v1")), times(300, from("v1").going(silent))...), "200", `gave up after … of 200 requests
… of … requests failed: connected, but no answer within 2 s
`},
		{"silence once", answers{from("v1").going(silent)}, "1", "1 of 1 requests failed: connected, but no answer within 2 s\n"},
		{"bodies that stall", answers{from("v1").going(stalled)}, "200", `gave up after … of 200 requests
… of … requests failed: an answer cut short (Operation timed out) from v1
`},
		{"one body that stalls", answers{from("v1"), from("v1"), from("v1").going(stalled), from("v1")}, "4",
			"1 of 4 requests failed: an answer cut short (Operation timed out) from v1\n"},
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
			tmp := t.TempDir()
			start := time.Now()
			got := runScript(t, kubectl{}, &cluster{}, "./run-test.sh", []string{tt.n}, []string{"DOMAIN_NAME=localhost", "GATEWAY=" + address, "TIMEOUT=2", "TMPDIR=" + tmp})
			if took := time.Since(start); took > 12*time.Second {
				t.Errorf("took %v", took)
			}
			if got.code != 1 || !like(said(tt.stderr), inOneWording(got.stderr)) {
				t.Errorf("got\n%v\nwant on standard error\n%s", got, said(tt.stderr))
			}
			noneLeft(t, tmp)
		})
	}
}

// noneLeft fails if a process with that TMPDIR still runs, or left a file in it.
func noneLeft(t *testing.T, tmp string) {
	t.Helper()
	left := func() (all []string) {
		environs, _ := filepath.Glob("/proc/[0-9]*/environ")
		for _, path := range environs {
			if environ, _ := os.ReadFile(path); bytes.Contains(environ, []byte("TMPDIR="+tmp+"\x00")) {
				command, _ := os.ReadFile(filepath.Dir(path) + "/cmdline")
				all = append(all, string(bytes.ReplaceAll(command, []byte{0}, []byte(" "))))
			}
		}
		return all
	}
	for end := time.Now().Add(5 * time.Second); len(left()) > 0; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Errorf("processes are left:\n%s", strings.Join(left(), "\n"))
			break
		}
	}
	if files, _ := os.ReadDir(tmp); len(files) > 0 {
		t.Errorf("%v is left", files)
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

// curl takes the end of a connection for the end of the headers.
func TestScriptSeesHeadersCutShort(t *testing.T) {
	const cut = "run-test.sh: 4 of 4 requests failed: an answer cut short (in its headers) from v1\n"
	for answer, stderr := range map[string]string{
		"HTTP/1.1 200 OK\r\nX-Revision: v1\r\nContent-Length: 2\r\n\r\nok":      "",
		"HTTP/1.1 200 OK\nX-Revision: v1\nContent-Length: 2\n\nok":              "",
		"HTTP/1.1 200 OK\r\nX-Revision: v1\r\n":                                 cut,
		"HTTP/1.1 200 OK\r\nX-Revision: v1":                                     strings.Replace(cut, " from v1", ", which names no revision", 1),
		"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\nX-Revision: v1\r\n": cut,
	} {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer listener.Close()
		go func() {
			for {
				conn, err := listener.Accept()
				if err != nil {
					return
				}
				http.ReadRequest(bufio.NewReader(conn))
				io.WriteString(conn, answer)
				conn.Close()
			}
		}()
		got := runScript(t, kubectl{}, &cluster{}, "./run-test.sh", []string{"4"}, []string{"DOMAIN_NAME=localhost", "GATEWAY=" + listener.Addr().String()})
		if got.stderr != stderr || (got.code == 0) != (stderr == "") {
			t.Errorf("%q: got\n%v\nwant on standard error\n%s", answer, got, stderr)
		}
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
	address := gateway.Listener.Addr().String()
	c := &cluster{states: []object{state}}
	bundle := filepath.Join(t.TempDir(), "ca.pem")
	write(t, bundle, pemOf(gateway.Certificate()))
	got := runScript(t, kubectls(t)[0], c, "./run-test.sh", []string{"3"}, []string{"GATEWAY=" + address, "CURL_CA_BUNDLE=" + bundle})
	if got.code != 0 || serverName.Load() != "example.com" || !strings.HasPrefix(got.stdout, "3 requests to https://example.com/ through 127.0.0.1:") {
		t.Errorf("server name %v, got\n%v", serverName.Load(), got)
	}
	got = runScript(t, kubectls(t)[0], c, "./run-test.sh", []string{"5"}, []string{"GATEWAY=" + address})
	if got.code != 1 || !strings.Contains(got.stderr, "5 of 5 requests failed: no answer (SSL certificate problem: ") {
		t.Errorf("got\n%v", got)
	}
	got = runScript(t, kubectls(t)[0], c, "./run-test.sh", []string{"2"}, []string{"GATEWAY=http://" + address})
	if want := "2 of 2 requests failed: status 400, which names no revision\n"; got.code != 1 || got.stderr != said(want) {
		t.Errorf("got\n%v\nwant on standard error\n%s", got, said(want))
	}
}
