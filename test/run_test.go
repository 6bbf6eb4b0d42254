package test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
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
	for _, r := range runs {
		t.Run(r.name, func(t *testing.T) {
			t.Parallel()
			r.check(t, stub(t))
		})
	}
}

func (r run) check(t *testing.T, k kubectl) {
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
	got := runAgainst(t, k, server, "./"+cmp.Or(r.script, "run-test.sh"), strings.Fields(r.args), env)
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

// kubectl is a way to run kubectl.
type kubectl struct{ name, path string }

func stub(t *testing.T) kubectl {
	path, _ := os.Executable()
	return kubectl{"stub", path}
}

func runAgainst(t *testing.T, k kubectl, server, script string, args, env []string) result {
	t.Helper()
	return finished(t, command(t, k, server, script, args, env))
}

// command reads the scripts, so that go test sees when they have changed.
func command(t *testing.T, k kubectl, server, script string, args, env []string) *exec.Cmd {
	for _, name := range glob(t, "scripts/*", "*run-test.sh") {
		read(t, name)
	}
	path, home := tools(t), t.TempDir()
	link(t, k.path, filepath.Join(path, "kubectl"))
	write(t, filepath.Join(home, ".curlrc"), "include\n") // must not matter
	config := filepath.Join(home, "config")
	write(t, config, `{"apiVersion": "v1", "kind": "Config", "current-context": "c",
		"contexts": [{"name": "c", "context": {"cluster": "c"}}], "clusters": [{"name": "c", "cluster": {"server": "`+server+`"}}]}`)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
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
