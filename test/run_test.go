package test

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// kubectl is a way to run kubectl; the zero kubectl is none.
type kubectl struct{ name, path string }

// kubectls are the stub and, where it is installed, kubectl itself.
func kubectls(t *testing.T) []kubectl {
	all := []kubectl{{"stub", self(t)}}
	path, err := exec.LookPath("kubectl")
	if err != nil {
		t.Log("kubectl is not installed: its stub alone stands for it")
		return all
	}
	return append(all, kubectl{"kubectl", path})
}

func self(t *testing.T) string {
	path, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

type result struct {
	code           int
	stdout, stderr string
}

func (r result) String() string {
	return fmt.Sprintf("exit %d\n-- stdout --\n%s-- stderr --\n%s", r.code, r.stdout, r.stderr)
}

// scriptTools are the programs that the scripts call, but for kubectl.
var scriptTools = []string{"awk", "bash", "cat", "curl", "dirname", "mktemp", "readlink", "rm", "sed", "sh", "sleep", "stty", "tail", "tr", "wc"}

// runScript runs a script beside a cluster.
func runScript(t *testing.T, k kubectl, c *cluster, script string, args, env []string) result {
	server := httptest.NewServer(c)
	defer server.Close()
	return runAgainst(t, k, server.URL, script, args, env)
}

func runAgainst(t *testing.T, k kubectl, server, script string, args, env []string) result {
	path := tools(t, scriptTools...)
	home := t.TempDir()
	write(t, filepath.Join(home, ".curlrc"), "include\n") // must not matter
	config := filepath.Join(home, "config")
	write(t, config, `{"apiVersion": "v1", "kind": "Config", "current-context": "c",
		"contexts": [{"name": "c", "context": {"cluster": "c"}}],
		"clusters": [{"name": "c", "cluster": {"server": "`+server+`"}}]}`)
	if k.path != "" {
		link(t, k.path, filepath.Join(path, "kubectl"))
	}
	return runIn(t, path, script, args, append([]string{"HOME=" + home, "KUBECONFIG=" + config, "STUB_SERVER=" + server}, env...))
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

// command runs a script with these programs and no others.
func command(t *testing.T, path, script string, args, env []string) *exec.Cmd {
	t.Helper()
	for _, name := range []string{"run-test.sh", "latest-run-test.sh"} {
		if _, err := os.ReadFile(name); err != nil { // go test's cache learns that it depends on it
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	cmd := exec.CommandContext(ctx, "bash", append([]string{script}, args...)...)
	cmd.Env = append([]string{"PATH=" + path}, env...)
	return cmd
}

func runIn(t *testing.T, path, script string, args, env []string) result {
	t.Helper()
	cmd := command(t, path, script, args, env)
	var stdout, stderr strings.Builder
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return result{cmd.ProcessState.ExitCode(), stdout.String(), stderr.String()}
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

func pemOf(certificate *x509.Certificate) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate.Raw}))
}
