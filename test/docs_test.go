package test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const chinese = "docs/README.zh-CN.md"

// documents are the README and all of docs/, by their names.
func documents(t *testing.T) map[string]string {
	texts := map[string]string{}
	for _, name := range glob(t, "README.md", "docs/*.md") {
		texts[name] = read(t, name)
	}
	return texts
}

func read(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// glob returns the files of each pattern, which has some.
func glob(t *testing.T, patterns ...string) (names []string) {
	t.Helper()
	for _, pattern := range patterns {
		found, _ := filepath.Glob(pattern)
		if len(found) == 0 {
			t.Fatalf("there is no %s", pattern)
		}
		names = append(names, found...)
	}
	return names
}

// blocks are a document's blocks of code, the commands apart from what programs
// print and from manifests: a block with a language, or of prompts, is no
// command to paste.
func blocks(text string) (commands, others []string) {
	fenced := regexp.MustCompile("(?ms)^( *)```(.*?)\n(.*?)\n *```$")
	for _, m := range fenced.FindAllStringSubmatch(text, -1) {
		others = append(others, m[3])
	}
	text = fenced.ReplaceAllString(text, "")
	for _, m := range regexp.MustCompile(`(?m)(?:^    .*\n)+`).FindAllString(text, -1) {
		commands = append(commands, strings.TrimSpace(regexp.MustCompile(`(?m)^ +`).ReplaceAllString(m, "")))
	}
	return commands, others
}

// The README is read to its end only if it is short.
func TestReadmeIsShort(t *testing.T) {
	text := read(t, "README.md")
	if lines, words := strings.Count(text, "\n"), len(strings.Fields(text)); lines > 130 || words > 1200 {
		t.Errorf("the README has %d lines and %d words, more than 130 or 1,200", lines, words)
	}
}

// A command is pasted into bash and zsh as it stands, where a comment behind it
// would be arguments and a ! an old command; and the reader stands in a clone.
func TestCommandsCanBePasted(t *testing.T) {
	for name, text := range documents(t) {
		commands, others := blocks(text)
		for _, line := range strings.Split(strings.Join(append(commands, others...), "\n"), "\n") {
			if len([]rune(line)) > 120 {
				t.Errorf("%s has a line of code of more than 120 columns: %s", name, line)
			}
		}
		for _, command := range commands {
			if regexp.MustCompile(`(?m)(^| )#|!|^\$ |git clone`).MatchString(command) {
				t.Errorf("%s has a comment, a !, a prompt or a clone in a command: %s", name, command)
			}
			for _, shell := range []string{"bash", "zsh"} {
				if _, err := exec.LookPath(shell); err != nil {
					t.Logf("%s is not installed", shell)
				} else if out, err := exec.Command(shell, "-n", "-c", command).CombinedOutput(); err != nil {
					t.Errorf("%s: %s cannot read %s: %s", name, shell, command, out)
				}
			}
		}
	}
}

// The Chinese README has the same commands, printed texts and names in tables.
func TestChineseReadmeIsTheSame(t *testing.T) {
	type facts struct{ commands, printed, names []string }
	read := func(text string) (f facts) {
		f.commands, f.printed = blocks(text)
		for i, yaml := range f.printed {
			f.printed[i] = regexp.MustCompile(` +# .*`).ReplaceAllString(yaml, "") // a comment is translated
		}
		for _, m := range regexp.MustCompile("(?m)^\\| (`.*?`) \\|").FindAllStringSubmatch(text, -1) {
			f.names = append(f.names, m[1])
		}
		return f
	}
	texts := documents(t)
	want, got := read(texts["README.md"]), read(texts[chinese])
	for _, pair := range [][2][]string{{want.commands, got.commands}, {want.printed, got.printed}, {want.names, got.names}} {
		if !slices.Equal(pair[0], pair[1]) {
			t.Errorf("%s has %q, and the README %q", chinese, pair[1], pair[0])
		}
	}
}

// Links lead to files and headings that are there, and so do names of files.
func TestLinksLead(t *testing.T) {
	texts := documents(t)
	for name, text := range texts {
		for _, m := range regexp.MustCompile(`\]\(([^)#:]*)(?:#([^)]*))?\)`).FindAllStringSubmatch(text, -1) {
			path := name
			if m[1] != "" {
				path = filepath.Join(filepath.Dir(name), m[1])
			}
			if _, err := os.Stat(path); err != nil {
				t.Errorf("%s links to %s: %v", name, m[1], err)
			} else if m[2] != "" && !slices.Contains(anchors(texts[path]), m[2]) {
				t.Errorf("%s links to #%s, which %s has not", name, m[2], path)
			}
		}
		for _, m := range regexp.MustCompile("`((?:(?:scripts|examples|docs|internal|test)/)?[\\w/*.-]+\\.(?:yaml|sh|go|awk|md)|(?:internal|scripts|examples|test|docs)/[\\w/]*)`").FindAllStringSubmatch(text, -1) {
			if found, _ := filepath.Glob(m[1]); len(found) == 0 {
				t.Errorf("%s names %s, which is not there", name, m[1])
			}
		}
	}
	for name := range texts {
		if name != "README.md" && !strings.Contains(texts["README.md"], "("+name) {
			t.Errorf("the README does not link to %s", name)
		}
	}
}

// anchors are the names that GitHub gives to headings.
func anchors(text string) (names []string) {
	for _, m := range regexp.MustCompile(`(?m)^#+ (.*)$`).FindAllStringSubmatch(text, -1) {
		name := regexp.MustCompile(`[^\p{L}\p{N} _-]`).ReplaceAllString(strings.ToLower(m[1]), "")
		names = append(names, strings.ReplaceAll(name, " ", "-"))
	}
	return names
}

// The README's table of the service's variables has all that it reads.
func TestReadmeNamesVariables(t *testing.T) {
	text, config := read(t, "README.md"), read(t, "internal/config/config.go")
	reads := regexp.MustCompile(`read\(\w+, "([A-Z_]+)", "(.*?)"`).FindAllStringSubmatch(config, -1)
	for _, m := range reads {
		if !strings.Contains(text, "\n| `"+m[1]+"` | "+m[2]) {
			t.Errorf("the README has no row of %s with the default %q", m[1], m[2])
		}
	}
	if len(reads) == 0 {
		t.Error("config.go reads no variables")
	}
}

// Troubleshooting quotes the scripts: what is in backticks in a first column is,
// with anything in the place of each … or number, in a line that a test expects.
func TestTroubleshootingQuotesMessages(t *testing.T) {
	var expected strings.Builder
	for _, file := range glob(t, "test/*_test.go") {
		expected.WriteString(strings.ReplaceAll(read(t, file), `\"`, `"`))
	}
	quoted := 0
	for _, row := range regexp.MustCompile(`(?m)^\| (.*?) \|`).FindAllStringSubmatch(read(t, "docs/troubleshooting.md"), -1) {
		for _, m := range regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(row[1], -1) {
			quoted++
			if !regexp.MustCompile(regexp.MustCompile(`…|\d+`).ReplaceAllString(regexp.QuoteMeta(m[1]), ".+")).MatchString(expected.String()) {
				t.Errorf("no test expects what troubleshooting.md quotes: %s", m[1])
			}
		}
	}
	if quoted == 0 {
		t.Error("troubleshooting.md quotes no message")
	}
}
