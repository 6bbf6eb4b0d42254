package test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// Bodies of any size and bytes are printed as they are where one is asked for,
// and do not matter where more are.
func TestScriptPrintsBodyToTheByte(t *testing.T) {
	text := strings.Repeat("a\x00\xff|\r", 4<<20) // 20 MB without a line's end
	gateway := answers{{status: 200, revision: "v1", text: text}}.gateway(t, "localhost")
	defer gateway.Close()
	env := []string{"DOMAIN_NAME=localhost", "GATEWAY=" + gateway.Listener.Addr().String()}
	got := runScript(t, kubectl{}, &cluster{}, "./run-test.sh", nil, env)
	if got.code != 0 || got.stderr != "" || got.stdout != text {
		t.Errorf("exit %d, %d bytes, want %d; standard error:\n%s", got.code, len(got.stdout), len(text), got.stderr)
	}
	got = runScript(t, kubectl{}, &cluster{}, "./run-test.sh", []string{"3"}, env)
	if got.code != 0 || got.stderr != "" || !strings.Contains(got.stdout, "\nv1          100.0%      3  ##########\n") {
		t.Errorf("got\n%v", got)
	}
}

// What cannot be printed is never told as ok; a reader who leaves is no reason
// to complain.
func TestScriptCannotPrint(t *testing.T) {
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Skip(err)
	}
	defer full.Close()
	gateway := answers{from("v1")}.gateway(t, "localhost")
	defer gateway.Close()
	for _, n := range []string{"1", "20"} {
		tmp := t.TempDir()
		script := func() *exec.Cmd {
			return command(t, tools(t, scriptTools...), "./run-test.sh", []string{n}, []string{"DOMAIN_NAME=localhost", "TMPDIR=" + tmp, "GATEWAY=" + gateway.Listener.Addr().String()})
		}
		var stderr strings.Builder
		cmd := script()
		cmd.Stdout, cmd.Stderr = full, &stderr
		if err := cmd.Run(); err == nil || !strings.HasSuffix(stderr.String(), "write error: No space left on device\n") || strings.Count(stderr.String(), "\n") != 1 {
			t.Errorf("%s requests to a full disk: %v, and\n%s", n, err, stderr.String())
		}

		reader, writer, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		reader.Close()
		stderr.Reset()
		cmd = script()
		cmd.Stdout, cmd.Stderr = writer, &stderr
		err = cmd.Run()
		writer.Close()
		if stderr.String() != "" || err == nil {
			t.Errorf("%s requests to a reader who has left: %v, and\n%s", n, err, stderr.String())
		}
		noneLeft(t, tmp)
	}
	// one who leaves after the first line
	cmd := command(t, tools(t, append(scriptTools, "head")...), "-c", []string{"set -o pipefail; bash ./run-test.sh 20 | head -n 1"}, []string{"DOMAIN_NAME=localhost", "GATEWAY=" + gateway.Listener.Addr().String()})
	out, err := cmd.CombinedOutput()
	if want := "20 requests to http://localhost/ through " + gateway.Listener.Addr().String() + "\n"; string(out) != want || err == nil && cmd.ProcessState.Sys().(syscall.WaitStatus).Signaled() {
		t.Errorf("%v, and\n%swant\n%s", err, out, want)
	}
}

// Programs of its own machine that behave otherwise.
func TestScriptBesideOtherPrograms(t *testing.T) {
	gateway := answers{from("v1").saying("X-Pod: " + strings.Repeat("p", 10_000))}.gateway(t, "localhost")
	t.Cleanup(gateway.Close)
	const okay = "v1          100.0%      4     1  ##########\n\nok: no request failed; no percentages were given\n"
	real := func(program string) string {
		path, err := exec.LookPath(program)
		if err != nil {
			t.Skip(program, " is not installed")
		}
		return "exec " + path + ` "$@"` + "\n"
	}
	tests := []struct {
		name    string
		program string
		does    string
		env     []string
		code    int
		stdout  string // in it
		stderr  string
	}{
		{"an awk that warns", "awk", "echo warning: x >&2\n" + real("awk"), nil, 0, okay, "warning: x\n"},
		{"a curl that warns", "curl", "echo curl: /lib/libcurl.so.4: no version information available >&2\n" + real("curl"), nil, 0, okay, ""},
		{"a curl without --rate", "curl", `case "$*" in *--rate*) echo "curl: option --rate: is unknown" >&2; exit 2;; esac` + "\n" + real("curl"),
			[]string{"RATE=100"}, 2, "", "run-test.sh: install awk and curl 7.75 or newer, for RATE 7.84: curl: option --rate: is unknown\n"},
		{"which does not matter without RATE", "curl", `case "$*" in *--rate*) exit 2;; esac` + "\n" + real("curl"), nil, 0, okay, ""},
		{"an option that curl does not take", "curl", real("curl"), []string{"TIMEOUT=abc"}, 2, "",
			"run-test.sh: install awk and curl 7.75 or newer, for RATE 7.84: curl: option --max-time: expected a proper numerical parameter\n"},
		{"a curl that is killed", "curl", `case "$*" in *http*) kill -9 $$;; esac` + "\n" + real("curl"),
			nil, 1, "REVISION  OBSERVED  COUNT\n", "run-test.sh: gave up after 0 of 4 requests\n"},
		{"an mktemp that does not take TMPDIR", "mktemp", `TMPDIR=/nowhere ` + real("mktemp"), nil, 0, okay, ""},
		{"no terminal to ask for its size", "stty", "exit 1\n", nil, 0, okay, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			path := tools(t, scriptTools...)
			os.Remove(filepath.Join(path, tt.program))
			write(t, filepath.Join(path, tt.program), "#!/bin/sh\n"+strings.Replace(tt.does, "TMPDIR=/nowhere exec", "TMPDIR=/nowhere; exec", 1))
			tmp := filepath.Join(t.TempDir(), "a folder with spaces")
			if err := os.Mkdir(tmp, 0o700); err != nil {
				t.Fatal(err)
			}
			env := append(tt.env, "DOMAIN_NAME=localhost", "TMPDIR="+tmp, "GATEWAY="+gateway.Listener.Addr().String())
			got := runIn(t, path, "./run-test.sh", []string{"4"}, env)
			if got.code != tt.code || !strings.Contains(got.stdout, tt.stdout) || got.stderr != tt.stderr {
				t.Errorf("got\n%v\nwant exit %d, in standard output\n%s\nand on standard error\n%s", got, tt.code, tt.stdout, tt.stderr)
			}
			noneLeft(t, tmp)
		})
	}
}
