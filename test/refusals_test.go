package test

import (
	"fmt"
	"net/http/httptest"
	"os"
	"os/exec"
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
		{[]string{"--tag"}, "", "--tag needs a value: see -h"},
		{[]string{"5", "--tag"}, "", n + `"5 --tag": see -h`},
		{[]string{"--tag", ""}, "", "--tag needs a value: see -h"},
		{[]string{"--path", "stock"}, "", `--path is a path that begins with / and has no spaces, brackets or braces, not "stock": see -h`},
		{[]string{"--path", "/a b"}, "", `--path is a path that begins with / and has no spaces, brackets or braces, not "/a b": see -h`},
		{[]string{"--path", "/[1-9]"}, "", `--path is a path that begins with / and has no spaces, brackets or braces, not "/[1-9]": see -h`},
		{nil, "WAIT=5s", `WAIT is a number of seconds, not "5s": see -h`},
		{nil, "WAIT=08", `WAIT is a number of seconds, not "08": see -h`},
		{nil, "WITHIN=0,5", `WITHIN is a number of seconds, as 0.5, not "0,5": see -h`},
		{nil, "WITHIN=.5", `WITHIN is a number of seconds, as 0.5, not ".5": see -h`},
		{nil, "TMPDIR=/nowhere", "cannot make a folder there: set TMPDIR to another"},
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
		newCurl = "echo 3"
		oldCurl = "echo \"curl: unknown --write-out variable: 'exitcode'\" >&2"
		install = "install awk and curl 7.75 or newer, for RATE 7.84: "
		cannot  = "kubectl cannot get Service stock-service-example in namespace default: ./run-test.sh: line N: kubectl: command not found"
	)
	tests := []struct {
		name   string
		has    map[string]string // programs, by their scripts
		env    []string
		stderr string
	}{
		{"no awk", map[string]string{"curl": newCurl}, nil, install + "./run-test.sh: line N: hash: awk: not found"},
		{"no curl", map[string]string{"awk": ""}, nil, install + "./run-test.sh: line N: curl: command not found"},
		{"an old curl", map[string]string{"awk": "", "curl": oldCurl}, []string{"GATEWAY=a", "DOMAIN_NAME=b"},
			install + "curl: unknown --write-out variable: 'exitcode'"},
		{"no kubectl", map[string]string{"awk": "", "curl": newCurl}, nil, cannot},
		{"no kubectl for GATEWAY alone", map[string]string{"awk": "", "curl": newCurl}, []string{"GATEWAY=localhost"}, cannot},
	}
	lineNumber := regexp.MustCompile(`line \d+`)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			path := tools(t, "bash", "sh", "mktemp", "sed", "tail", "rm")
			for program, script := range tt.has {
				write(t, filepath.Join(path, program), "#!/bin/sh\n"+script+"\n")
			}
			got := runIn(t, path, "./run-test.sh", nil, tt.env)
			got.stderr = lineNumber.ReplaceAllString(got.stderr, "line N")
			if want := (result{2, "", "run-test.sh: " + tt.stderr + "\n"}); got != want {
				t.Errorf("got\n%v\nwant\n%v", got, want)
			}
		})
	}
}

// Another shell ends with a line that says so.
func TestScriptNeedsBash(t *testing.T) {
	for _, shell := range []string{"dash", "zsh", "busybox sh"} {
		t.Run(shell, func(t *testing.T) {
			words := append(strings.Fields(shell), "run-test.sh", "20")
			if _, err := exec.LookPath(words[0]); err != nil {
				t.Skip("not installed")
			}
			out, err := exec.Command(words[0], words[1:]...).CombinedOutput()
			if want := "run-test.sh needs bash: bash run-test.sh\n"; err == nil || string(out) != want {
				t.Errorf("%v, and\n%swant\n%s", err, out, want)
			}
		})
	}
}

func TestScriptWithoutCluster(t *testing.T) {
	for _, kubectl := range kubectls(t) {
		t.Run(kubectl.name, func(t *testing.T) {
			got := runAgainst(t, kubectl, "http://"+closedPort(t), "./run-test.sh", nil, nil)
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

// Each question to kubectl takes as long as some ten requests.
func TestScriptAsksForServiceBeforeAndAfter(t *testing.T) {
	gateway := answers{from("v1"), from("v2")}.gateway(t, routeHost)
	defer gateway.Close()
	c := &cluster{states: []object{readyService(split5050...)}}
	got := runScript(t, kubectls(t)[0], c, "./run-test.sh", []string{"1"}, []string{"GATEWAY=" + gateway.Listener.Addr().String()})
	if got.code != 0 || c.asked.Load() != 2 {
		t.Errorf("it asked %d times, want 2:\n%v", c.asked.Load(), got)
	}
}

// The table in the README quotes the script: what is in backticks in its first
// column is, with anything in the place of each … or number, in a line that one
// of these tests expects.
func TestReadmeQuotesMessages(t *testing.T) {
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	var expected strings.Builder
	files, _ := filepath.Glob("test/*_test.go")
	for _, file := range files {
		text, _ := os.ReadFile(file)
		expected.WriteString(strings.ReplaceAll(string(text), `\"`, `"`))
	}
	_, table, _ := strings.Cut(string(readme), "\n## What the scripts say\n")
	table, _, _ = strings.Cut(table, "\n## ")
	filledIn := regexp.MustCompile(`…|\d+`)
	quoted := 0
	for line := range strings.Lines(table) {
		first, _, _ := strings.Cut(strings.TrimPrefix(line, "| "), " | ")
		for _, m := range regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(first, -1) {
			quoted++
			if !regexp.MustCompile(filledIn.ReplaceAllString(regexp.QuoteMeta(m[1]), ".+")).MatchString(expected.String()) {
				t.Errorf("no test expects what the README quotes: %s", m[1])
			}
		}
	}
	if quoted == 0 {
		t.Error("the README quotes no message")
	}
}
