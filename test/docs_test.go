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

// read returns a file's text. By a relative name, go test would not see that the
// file has changed, and give a result from its cache: TestMain changes the folder.
func read(t *testing.T, name string) string {
	t.Helper()
	path, _ := filepath.Abs(name)
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// glob returns the files of all patterns.
func glob(t *testing.T, patterns ...string) (names []string) {
	t.Helper()
	for _, pattern := range patterns {
		found, err := filepath.Glob(pattern)
		if err != nil {
			t.Error(err)
		}
		names = append(names, found...)
	}
	return names
}

// document is what is tested of the README, or of a file in docs/.
type document struct {
	name, text string
	commands   []string // the indented blocks, to be pasted
	printed    []string // the fenced ones, such as manifests and what programs print
}

func readDocument(t *testing.T, name string) document {
	fenced := regexp.MustCompile("(?ms)^ *```.*?\n(.*?)\n *```$")
	d := document{name: name, text: read(t, name)}
	for _, m := range fenced.FindAllStringSubmatch(d.text, -1) {
		d.printed = append(d.printed, m[1])
	}
	for _, block := range regexp.MustCompile(`(?m)(?:^    .*\n)+`).FindAllString(fenced.ReplaceAllString(d.text, ""), -1) {
		d.commands = append(d.commands, regexp.MustCompile(`(?m)^ +`).ReplaceAllString(block, ""))
	}
	return d
}

// The README is read to its end only if it is short. It has all variables that
// the service reads.
func TestReadmeIsShortAndWhole(t *testing.T) {
	text := read(t, "README.md")
	if lines, words := strings.Count(text, "\n"), len(strings.Fields(text)); lines > 130 || words > 1200 {
		t.Errorf("the README has %d lines and %d words, more than 130 or 1,200", lines, words)
	}
	reads := regexp.MustCompile(`read\(\w+, "([A-Z_]+)", "(.*?)"`).FindAllStringSubmatch(read(t, "internal/config/config.go"), -1)
	if len(reads) == 0 {
		t.Error("config.go reads no variables")
	}
	for _, m := range reads {
		if !strings.Contains(text, "\n| `"+m[1]+"` | "+m[2]) {
			t.Errorf("the README has no row of %s with the default %q", m[1], m[2])
		}
	}
}

// A command is pasted into bash and zsh as it stands, where a comment behind it
// would be arguments and a ! an old command; and the reader stands in a clone.
func TestCommandsCanBePasted(t *testing.T) {
	for _, name := range glob(t, "README.md", "docs/*.md") {
		d := readDocument(t, name)
		for line := range strings.Lines(strings.Join(append(d.commands, d.printed...), "\n")) {
			if len([]rune(line)) > 121 {
				t.Errorf("%s has a line of code of more than 120 columns: %s", name, line)
			}
		}
		script := strings.Join(d.commands, "")
		if found := regexp.MustCompile(`(?m)^.*((^| )#|!|^\$ |git clone).*$`).FindString(script); found != "" {
			t.Errorf("%s has a comment, a !, a prompt or a clone in a command: %s", name, found)
		}
		for _, shell := range []string{"bash", "zsh"} {
			if _, err := exec.LookPath(shell); err != nil {
				t.Logf("%s is not installed", shell)
			} else if out, err := exec.Command(shell, "-n", "-c", script).CombinedOutput(); err != nil {
				t.Errorf("%s cannot read the commands of %s: %s", shell, name, out)
			}
		}
	}
}

// The Chinese README has the same commands, printed texts and names in tables.
func TestChineseReadmeIsTheSame(t *testing.T) {
	facts := func(name string) []string {
		d := readDocument(t, name)
		code := strings.Join(append(d.commands, d.printed...), "\n")
		code = regexp.MustCompile(` +# .*`).ReplaceAllString(code, "") // a comment is translated
		return append(strings.Split(code, "\n"), regexp.MustCompile("(?m)^\\| `.*?` \\|").FindAllString(d.text, -1)...)
	}
	english, chinese := facts("README.md"), facts("docs/README.zh-CN.md")
	for i := range min(len(english), len(chinese)) {
		if english[i] != chinese[i] {
			t.Fatalf("it has %q, and the README %q", chinese[i], english[i])
		}
	}
	if len(english) != len(chinese) {
		t.Errorf("it has %d lines of code and rows of names, and the README %d", len(chinese), len(english))
	}
}

// Links lead to files and headings that are there, and so do names of files.
func TestLinksLead(t *testing.T) {
	link := regexp.MustCompile(`\]\(([^)#:]*)(?:#([^)]*))?\)`)
	file := regexp.MustCompile("`((?:\\w+/)*[\\w*.-]+\\.(?:yaml|sh|go|awk|md)|(?:internal|scripts|examples|test|docs)/[\\w/]*)`")
	heading, punctuation := regexp.MustCompile(`(?m)^#+ (.*)$`), regexp.MustCompile(`[^\p{L}\p{N} _-]`)
	for _, name := range glob(t, "README.md", "docs/*.md") {
		text := read(t, name)
		for _, m := range file.FindAllStringSubmatch(text, -1) {
			if glob(t, m[1], "*/"+m[1], "*/*/"+m[1]) == nil {
				t.Errorf("%s names %s, which is not there", name, m[1])
			}
		}
		for _, m := range link.FindAllStringSubmatch(text, -1) {
			path := name
			if m[1] != "" {
				path = filepath.Join(filepath.Dir(name), m[1])
			}
			if _, err := os.Stat(path); err != nil {
				t.Errorf("%s links to %s: %v", name, m[1], err)
			} else if m[2] != "" && !slices.ContainsFunc(heading.FindAllStringSubmatch(read(t, path), -1), func(h []string) bool {
				return strings.ReplaceAll(punctuation.ReplaceAllString(strings.ToLower(h[1]), ""), " ", "-") == m[2]
			}) {
				t.Errorf("%s links to #%s, which %s has not", name, m[2], path)
			}
		}
	}
}

// Troubleshooting quotes the scripts: what is in backticks in a first column is,
// with anything in the place of each … or number, in a line that a test expects.
func TestTroubleshootingQuotesMessages(t *testing.T) {
	var expected strings.Builder
	for _, file := range glob(t, "test/*_test.go") {
		expected.WriteString(strings.ReplaceAll(read(t, file), `\"`, `"`))
	}
	for _, row := range regexp.MustCompile(`(?m)^\| (.*?) \|`).FindAllStringSubmatch(read(t, "docs/troubleshooting.md"), -1) {
		for _, m := range regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(row[1], -1) {
			pattern := regexp.MustCompile(`…|\d+`).ReplaceAllString(regexp.QuoteMeta(m[1]), ".+")
			if !regexp.MustCompile(pattern).MatchString(expected.String()) {
				t.Errorf("no test expects what troubleshooting.md quotes: %s", m[1])
			}
		}
	}
}
