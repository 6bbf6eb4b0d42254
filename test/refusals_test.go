package test

import (
	"fmt"
	"net"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// What it cannot try is told in one line, with 2.
func TestScriptRefuses(t *testing.T) {
	const n = "N is a number of requests from 1 to 99999, not "
	tests := []struct {
		args   []string
		env    string
		stderr string
	}{
		{[]string{""}, "", n + `"": see -h`},
		{[]string{"0"}, "", n + `"0": see -h`},
		{[]string{"-1"}, "", "there is no option -1: see -h"},
		{[]string{"1.5"}, "", n + `"1.5": see -h`},
		{[]string{"08"}, "", n + `"08": see -h`},
		{[]string{" "}, "", n + `" ": see -h`},
		{[]string{"1 2"}, "", n + `"1 2": see -h`},
		{[]string{"1", "2"}, "", n + `"1 2": see -h`},
		{[]string{"100000"}, "", n + `"100000": see -h`},
		{[]string{"--tags", "v1"}, "", "there is no option --tags: see -h"},
		{[]string{"--tag", "v1", "5", "--path"}, "", n + `"5 --path": see -h`},
		{[]string{"--tag"}, "", `--tag is a tag of the Service's traffic, not "?": see -h`},
		{[]string{"--tag", "a b"}, "", `--tag is a tag of the Service's traffic, not "a b": see -h`},
		{[]string{"--path", "stock"}, "", `--path is a path that begins with / and has no spaces, brackets or braces, not "stock": see -h`},
		{[]string{"--path", "/a b"}, "", `--path is a path that begins with / and has no spaces, brackets or braces, not "/a b": see -h`},
		{[]string{"--path", "/[1-9]"}, "", `--path is a path that begins with / and has no spaces, brackets or braces, not "/[1-9]": see -h`},
		{nil, "WAIT=5s", `WAIT is a number of seconds, not "5s": see -h`},
		{nil, "WAIT=08", `WAIT is a number of seconds, not "08": see -h`},
		{nil, "RATE=0", `RATE is a number of requests per second from 1 to 999, not "0": see -h`},
		{nil, "GATEWAY=https://localhost", `GATEWAY is the gateway's host[:port], not "https://localhost": see -h`},
		{nil, "GATEWAY=localhost/x", `GATEWAY is the gateway's host[:port], not "localhost/x": see -h`},
		{nil, "GATEWAY=a\nb", "GATEWAY is the gateway's host[:port], not \"a\nb\": see -h"},
		{nil, "DOMAIN_NAME=a\noutput=b", "DOMAIN_NAME is the route's host, not \"a\noutput=b\": see -h"},
		{nil, "TMPDIR=/nowhere", "cannot make a folder with a pipe in /nowhere: set TMPDIR to another"},
	}
	for _, tt := range tests {
		t.Run(fmt.Sprintf("%q %s", tt.args, tt.env), func(t *testing.T) {
			got := runScript(t, kubectl{"stub", self(t)}, &cluster{}, "./run-test.sh", tt.args, []string{tt.env})
			got.stderr = regexp.MustCompile(`(?m)^mktemp: .*\n`).ReplaceAllString(got.stderr, "")
			if want := (result{2, "", "run-test.sh: " + tt.stderr + "\n"}); got != want {
				t.Errorf("got\n%v\nwant\n%v", got, want)
			}
		})
	}
}

func TestScriptMissesTools(t *testing.T) {
	const (
		newCurl  = "echo '     --rate <max request rate>'"
		oldCurl  = "echo '     --proxy <url>  Use this proxy'"
		tooFew   = "awk and curl must be installed, curl 7.84 or newer"
		noAsking = "kubectl is not installed; without it, set GATEWAY and DOMAIN_NAME"
	)
	tests := []struct {
		name   string
		has    map[string]string // programs, by their scripts
		env    []string
		stderr string
	}{
		{"no awk", map[string]string{"curl": newCurl}, nil, tooFew},
		{"no curl", map[string]string{"awk": ""}, nil, tooFew},
		{"an old curl", map[string]string{"awk": "", "curl": oldCurl}, []string{"GATEWAY=a", "DOMAIN_NAME=b"}, tooFew},
		{"no kubectl", map[string]string{"awk": "", "curl": newCurl}, nil, noAsking},
		{"no kubectl for GATEWAY alone", map[string]string{"awk": "", "curl": newCurl}, []string{"GATEWAY=localhost"}, noAsking},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			path := tools(t, "bash")
			for program, script := range tt.has {
				write(t, filepath.Join(path, program), "#!/bin/sh\n"+script+"\n")
			}
			got := runIn(t, path, "./run-test.sh", nil, tt.env)
			if want := (result{2, "", "run-test.sh: " + tt.stderr + "\n"}); got != want {
				t.Errorf("got\n%v\nwant\n%v", got, want)
			}
		})
	}
}

func TestScriptWithoutCluster(t *testing.T) {
	for _, kubectl := range kubectls(t) {
		t.Run(kubectl.name, func(t *testing.T) {
			got, _ := runAgainst(t, kubectl, "http://"+closedPort(t), "./run-test.sh", nil, nil)
			if got.code != 2 || got.stdout != "" || strings.Count(got.stderr, "\n") != 1 ||
				!strings.HasPrefix(got.stderr, "run-test.sh: kubectl cannot get Service stock-service-example in namespace default: The connection to the server ") {
				t.Errorf("got\n%v", got)
			}
			got = runScript(t, kubectl, &cluster{noKnative: true}, "./run-test.sh", nil, nil)
			if want := (result{2, "", `run-test.sh: kubectl cannot get Service stock-service-example in namespace default: error: the server doesn't have a resource type "ksvc"` + "\n"}); got != want {
				t.Errorf("got\n%v\nwant\n%v", got, want)
			}
		})
	}
}

// -h is the script's own first comment, and names each variable that it reads.
func TestScriptHelp(t *testing.T) {
	script, err := os.ReadFile("run-test.sh")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"./run-test.sh", "./latest-run-test.sh"} {
		got := runIn(t, tools(t, scriptTools...), name, []string{"-h"}, nil)
		if got.code != 0 || got.stderr != "" || !strings.HasPrefix(got.stdout, "Sends requests through the ingress gateway") {
			t.Errorf("%s -h: got\n%v", name, got)
		}
		for _, m := range regexp.MustCompile(`\b([A-Z_]+)=\$\{[A-Z_]+:-([\w-]*)\}`).FindAllStringSubmatch(string(script), -1) {
			if !strings.Contains(got.stdout, m[1]) || !strings.Contains(got.stdout, m[2]) {
				t.Errorf("%s -h does not say that %s is %q unless set", name, m[1], m[2])
			}
		}
	}
}

// The path to the script, a symbolic link to it and the folder that it is
// called from do not matter.
func TestLatestIsFoundFromAnywhere(t *testing.T) {
	gateway := answers{from("v3")}.gateway(t, "latest-"+routeHost)
	defer gateway.Close()
	server := httptest.NewServer(&cluster{states: []object{readyService(split5050...)}})
	defer server.Close()
	here, _ := os.Getwd()
	other := t.TempDir()
	link(t, filepath.Join(here, "latest-run-test.sh"), filepath.Join(other, "preview"))
	path := tools(t, scriptTools...)
	link(t, self(t), filepath.Join(path, "kubectl"))
	for _, script := range []string{"./preview", filepath.Join(here, "latest-run-test.sh")} {
		cmd := command(t, path, script, nil, []string{"STUB_SERVER=" + server.URL, "GATEWAY=" + gateway.Listener.Addr().String()})
		cmd.Dir = other
		if out, err := cmd.CombinedOutput(); err != nil || string(out) != "Welcome to the v3 app! \n" {
			t.Errorf("%s: %v\n%s", script, err, out)
		}
	}
}

func TestScriptCallsKubectlThrice(t *testing.T) {
	gateway := answers{from("v1"), from("v2")}.gateway(t, routeHost)
	defer gateway.Close()
	server := httptest.NewServer(&cluster{
		states:   []object{readyService(split5050...)},
		services: []object{gatewayService(gateway.Listener.Addr().(*net.TCPAddr).Port)},
		nodes:    []object{node("127.0.0.1")},
	})
	defer server.Close()
	got, calls := runAgainst(t, kubectls(t)[0], server.URL, "./run-test.sh", []string{"10"}, []string{"GATEWAY=" + gateway.Listener.Addr().String()})
	if got.code != 0 || calls != 2 { // the Service, and once more at the end
		t.Errorf("%d calls, want 2:\n%v", calls, got)
	}
}

// The README's table has every message of the script, by the words between
// what it fills in.
func TestReadmeHasEveryMessage(t *testing.T) {
	script, err := os.ReadFile("run-test.sh")
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, ok := strings.Cut(string(text), "\n## What the scripts say\n")
	table, _, _ = strings.Cut(table, "\n## ")
	if !ok {
		t.Fatal("the README has no such table")
	}
	says := regexp.MustCompile(`\bdie |\bsay |\bcomplain\(|\bwhat = "|\bcure = `)
	literal := regexp.MustCompile(`"((?:[^"\\]|\\.)*)"`)
	called := regexp.MustCompile(`\$\([^)]*\)`)
	filledIn := regexp.MustCompile(`\$\{[^}]*\}|\$\w+|%[sd]|%%|\\"|\\n`)
	checked := 0
	for line := range strings.Lines(string(script)) {
		line = called.ReplaceAllString(line, "")
		place := says.FindStringIndex(line)
		if place == nil {
			continue
		}
		for _, m := range literal.FindAllStringSubmatch(line[place[0]:], -1) {
			for _, words := range filledIn.Split(m[1], -1) {
				words = strings.Trim(words, " (")
				if len(words) < 10 {
					continue
				}
				checked++
				if !strings.Contains(table, words) {
					t.Errorf("the table does not have %q", words)
				}
			}
		}
	}
	if checked < 20 {
		t.Errorf("only %d messages found", checked)
	}
}
