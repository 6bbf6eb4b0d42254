package test

import (
	"cmp"
	"fmt"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
)

// scriptCase is a run of a script beside a cluster and a gateway.
type scriptCase struct {
	name    string
	script  string // run-test.sh unless given
	args    string
	cluster []object // the Service's states
	pods    []object // of stock-service-example-v3
	answers answers
	host    string   // routeHost unless given
	env     []string // beside GATEWAY, for whose address //GATEWAY stands
	code    int
	stdout  string // with … for what differs from run to run
	stderr  string // likewise, a line each, without the script's name
}

const (
	to       = " requests to http://" + routeHost + "/ through GATEWAY\n\n"
	toHTTPS  = " requests to https://" + routeHost + "/ through GATEWAY\n\n"
	toLatest = " requests to http://latest-" + routeHost + "/ through GATEWAY\n\n"
	toLocal  = " requests to http://localhost/ through GATEWAY\n\n"
)

func runCases(t *testing.T, cases []scriptCase) {
	for _, kubectl := range kubectls(t) {
		for _, tt := range cases {
			t.Run(kubectl.name+"/"+tt.name, func(t *testing.T) {
				t.Parallel()
				path := "/"
				if _, after, ok := strings.Cut(tt.args, "--path "); ok {
					path = after
				}
				gateway := httptest.NewServer(tt.answers.handler(t, cmp.Or(tt.host, routeHost), path))
				defer gateway.Close()
				address := gateway.Listener.Addr().String()
				env := []string{"GATEWAY=" + address}
				for _, e := range tt.env {
					env = append(env, strings.ReplaceAll(e, "//GATEWAY", "//"+address))
				}
				got := runScript(t, kubectl, &cluster{states: tt.cluster, pods: tt.pods}, "./"+cmp.Or(tt.script, "run-test.sh"), strings.Fields(tt.args), env)
				got.stdout = strings.ReplaceAll(got.stdout, address, "GATEWAY")
				want := result{tt.code, tt.stdout, said(tt.stderr)}
				if got.code != want.code || !like(want.stdout, got.stdout) || !like(want.stderr, inOneWording(got.stderr)) {
					t.Errorf("got\n%v\nwant\n%v", got, want)
				}
			})
		}
	}
}

// said puts the script's name before each line that it says.
func said(text string) string {
	var out strings.Builder
	for line := range strings.Lines(text) {
		out.WriteString("run-test.sh: " + line)
	}
	return out.String()
}

// like tells if got is want, with anything in the place of each … on its line.
func like(want, got string) bool {
	pattern := strings.ReplaceAll(regexp.QuoteMeta(want), "…", ".*")
	return regexp.MustCompile("^" + pattern + "$").MatchString(got)
}

// inOneWording gives curl's reasons the words that older versions have.
func inOneWording(text string) string {
	text = regexp.MustCompile(`OpenSSL/[\w.]+: `).ReplaceAllString(text, "") // up to 8.9
	return strings.NewReplacer(
		"Could not connect", "Couldn't connect", // since 8.9
		"end of response", "transfer closed", // since 8.13
		"TLS connect error: ", "", // since 8.10
	).Replace(text)
}

// onlyV1 is the table of n answers of the one revision, and what is said of it.
func onlyV1(n int) string {
	return fmt.Sprintf(`REVISION                  TAG  EXPECTED  OBSERVED  COUNT
stock-service-example-v1           100%%    100.0%% %6d  ##########

ok: no request failed, and each share fits its percentage
with %d requests, failures of one in … show 99 times in 100
`, n, n)
}
