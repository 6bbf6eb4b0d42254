package test

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// run is a run of a script beside a cluster and a gateway.
type run struct {
	name    string
	script  string // run-test.sh unless given
	args    string // //GATEWAY stands for the address of the gateway, in env as well
	cluster *cluster
	answers answers
	host    string // routeHost unless given
	env     []string
	code    int
	out     string // standard output, with … for what differs from run to run; of many requests without the first line
	err     string // standard error, likewise, without the script's name before each line
}

// serving is a cluster whose Service has these states, one after the other.
func serving(states ...ksvc) *cluster { return &cluster{states: states} }

func check(t *testing.T, runs []run) {
	for _, r := range runs {
		t.Run(r.name, func(t *testing.T) {
			t.Parallel()
			got := r.start(t, stub(t))
			if got.code != r.code || !like(r.out, got.stdout) || !like(r.err, got.stderr) {
				t.Errorf("got\n%v\nwant\n%v", got, result{r.code, r.out, r.err})
			}
		})
	}
}

func (r run) start(t *testing.T, k kubectl) result {
	t.Helper()
	path := "/"
	if _, after, ok := strings.Cut(r.args, "--path "); ok {
		path, _, _ = strings.Cut(after, " ")
	}
	gateway := httptest.NewServer(r.answers.handler(t, cmp.Or(r.host, routeHost), path))
	defer gateway.Close()
	address := gateway.Listener.Addr().String()
	env := []string{"GATEWAY=" + address}
	if r.cluster == nil {
		env = append(env, "DOMAIN_NAME="+cmp.Or(r.host, "localhost"))
	}
	for _, e := range r.env {
		env = append(env, strings.ReplaceAll(e, "//GATEWAY", "//"+address))
	}
	server := "http://" + closedPort(t)
	if r.cluster != nil {
		api := httptest.NewServer(r.cluster)
		defer api.Close()
		server = api.URL
	}
	tmp := t.TempDir()
	args := strings.Fields(strings.ReplaceAll(r.args, "//GATEWAY", "//"+address))
	got := runAgainst(t, k, server, "./"+cmp.Or(r.script, "run-test.sh"), args, append(env, "TMPDIR="+tmp))
	noneLeft(t, tmp)
	got.stderr = strings.ReplaceAll(got.stderr, "run-test.sh: ", "")
	got.stderr = regexp.MustCompile(`(?m)^waiting for .*\n`).ReplaceAllString(got.stderr, "") // on a slow machine
	if first, rest, ok := strings.Cut(got.stdout, "\n\n"); ok && strings.Contains(first, " requests to ") {
		got.stdout = rest
	}
	return got
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

// kubectl is a way to run kubectl; the zero kubectl is none.
type kubectl struct{ name, path string }

func stub(t *testing.T) kubectl {
	path, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return kubectl{"stub", path}
}

func kubectls(t *testing.T) []kubectl { return []kubectl{stub(t)} }

// scriptTools are the programs that the scripts call, but for kubectl.
var scriptTools = []string{"awk", "bash", "cat", "curl", "grep", "mktemp", "mv", "readlink", "rm", "sed", "sh", "sleep", "stty", "tail", "tr"}

func runAgainst(t *testing.T, k kubectl, server, script string, args, env []string) result {
	t.Helper()
	return finished(t, command(t, k, server, script, args, env))
}

func command(t *testing.T, k kubectl, server, script string, args, env []string) *exec.Cmd {
	path, home := tools(t, scriptTools...), t.TempDir()
	if k.path != "" {
		link(t, k.path, filepath.Join(path, "kubectl"))
	}
	write(t, filepath.Join(home, ".curlrc"), "include\n") // must not matter
	config := filepath.Join(home, "config")
	write(t, config, `{"apiVersion": "v1", "kind": "Config", "current-context": "c",
		"contexts": [{"name": "c", "context": {"cluster": "c"}}], "clusters": [{"name": "c", "cluster": {"server": "`+server+`"}}]}`)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	cmd := exec.CommandContext(ctx, "bash", append([]string{script}, args...)...)
	cmd.Env = append([]string{"PATH=" + path, "HOME=" + home, "KUBECONFIG=" + config, "STUB_SERVER=" + server}, env...)
	return cmd
}

// tools returns a folder with these programs and no others.
func tools(t *testing.T, names ...string) string {
	dir := t.TempDir()
	for _, name := range names {
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
