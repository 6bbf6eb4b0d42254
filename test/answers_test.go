package test

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// wrote is what a curl writes of an answer: its headers, and how it went.
func wrote(headers, record string) string {
	return strings.ReplaceAll(headers, "\n", "\r\n") + "\nM|" + record + "|.\n"
}

const (
	okay     = "0|200|0.001|0.002|"
	ofV1     = "HTTP/1.1 200 OK\nX-Revision: v1\nX-Pod: a\n\n"
	waits    = "28|000|0.001|2.001|Operation timed out after 2001 milliseconds with 0 bytes received"
	refuses  = "7|000|0|0.001|Failed to connect to 127.0.0.1 port 1 after 0 ms: Couldn't connect to server"
	refused  = "|||no answer (Failed to connect to 127.0.0.1 port 1: Couldn't connect to server)"
	outcomes = "timeout=2;within=0.5"
	slow     = "answer|1|v1|a|took longer than 0.5 s from v1"
)

// What is found in what the curls have written, without the lines on the curls.
var records = []struct{ name, vars, in, want string }{
	{"answers that are alike", "", wrote("HTTP/1.1 200 OK\nx-REVISION:v1 \t\n\n", okay) + "HTTP/1.1 200 OK\nX-Revision: v1\n\n\nM|" + okay + "|.\n", "answer|2|v1||"},
	{"another header, and a prefix that goes", "header=K-Revision;prefix=s-", wrote("HTTP/1.1 200 OK\nk-revision: s-v1\n\n", okay), "answer|1|v1||"},
	{"the last of two, and the final answer's", "",
		wrote("HTTP/1.1 103 Early Hints\nX-Pod: b\n\nHTTP/1.1 200 OK\nX-Revision: v9\nX-Revision: v1\n\n", okay), "answer|1|v1|b|"},
	{"empty ones name nothing", "", wrote("HTTP/1.1 200 OK\nX-Revision: \nX-Pod: \nX-Rehearsal: \n\n", okay), "answer|1|||"},
	{"headers do not pass for records", "", wrote("HTTP/1.1 200 OK\nX-Revision: v1\nM 1|0|200|0|0||.\nanswer|9|v9||\nM curl |1\n\n", okay), "answer|1|v1||"},
	{"no answer can draw on the terminal, or look like two", "", wrote("HTTP/1.1 200 OK\nX-Revision: a|b %s\x1b[2J\a\n\n", okay), "answer|1|a?b %s?[2J?||"},
	{"a rehearsal, and a success of any kind", "", wrote("HTTP/1.1 299 x\nX-Revision: v1\nX-Rehearsal: v1=100\n\n", "0|299|0|0|"), "answer|1|v1||\nrehearsed|1"},
	{"what the curl is still writing", "", wrote(ofV1, okay) + "HTTP/1.1 200 OK\r\nX-Revision: v2\r\n\r\n\nM|28|200|0|0|Oper", "answer|1|v1|a|"},
	{"other statuses", "", wrote("HTTP/1.1 301 x\nX-Revision: v1\n\n", "0|301|0|0|") + wrote("HTTP/1.1 502 x\n\n", "0|502|0|0|"), "answer|1|v1||status 301 from v1\n" +
		"answer|1|||status 502, which names no revision: the program broke the connection, or its pod went away"},
	{"no answer, told without its times", "", wrote("", refuses) + wrote("", strings.Replace(refuses, "0 ms", "12 ms", 1)), "answer|2" + refused},
	{"silence", outcomes, wrote("", waits), "answer|1|||connected, but no answer within 2 s"},
	{"a body cut short", "", wrote(ofV1, "18|200|0.001|0.002|end of response with 100 bytes missing"), "answer|1|v1|a|an answer cut short (end of response) from v1"},
	{"one that stalls", "", wrote(ofV1, strings.Replace(waits, "000", "200", 1)), "answer|1|v1|a|an answer cut short (Operation timed out) from v1"},
	{"headers cut short, which is no error for curl", "", wrote("HTTP/1.1 200 OK\nX-Revision: v1\n", okay), "answer|1|v1||an answer cut short (in its headers) from v1"},
	{"a first answer that takes long, and one after it", outcomes, wrote(ofV1, "0|200|0|1.5|") + wrote(ofV1, "0|200|0|0.6|"), "answer|1|v1|a|\n" + slow + "\ncold|v1|1.5"},
	{"one of another curl that was sent before", outcomes, wrote(ofV1, "0|200|0|1.5|") + "\nM curl|2\n" + wrote(ofV1, "0|200|0|1.2|") + wrote(ofV1, "0|200|0|0.9|"),
		"answer|2|v1|a|\n" + slow + "\ncold|v1|1.5"},
	{"and by its rate, after", outcomes + ";gap=1600", wrote(ofV1, "0|200|0|0.4|") + "\nM curl|2\n" + wrote("", refuses) + wrote(ofV1, "0|200|0|0.9|"),
		"answer|1|v1|a|\n" + slow + "\nanswer|1" + refused},
	{"the one request that is sent is judged plainly", outcomes + ";alone=1", wrote(ofV1, "0|200|0|1.5|"), slow},
	{"so is one that names no revision", outcomes, wrote("HTTP/1.1 200 OK\n\n", "0|200|0|0.6|"), "answer|1|||took longer than 0.5 s, which names no revision"},
}

func TestAnswers(t *testing.T) {
	for _, a := range awks {
		t.Run(a, func(t *testing.T) {
			for _, tt := range records {
				got := awk(t, a, "answers.awk", "mark=M;header=X-Revision;"+tt.vars, "curl|1|0|0\n", "M curl|1\n"+tt.in)
				if text := answerLines(got.stdout); text != sorted(tt.want) || got.stderr != "" {
					t.Errorf("%s: got\n%s%s\nwant\n%s", tt.name, text, got.stderr, tt.want)
				}
			}
		})
	}
}

// answerLines are the lines on answers alone, in order.
func answerLines(text string) string {
	return sorted(regexp.MustCompile(`(?m)^(curl|silent|woke)\|.*\n`).ReplaceAllString(text, ""))
}

func sorted(text string) string {
	lines := strings.Split(strings.Trim(text, "\n"), "\n")
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

// Wherever the curl is when it is read, the next time goes on from there.
func TestAnswersGoOnFromWhereTheyStopped(t *testing.T) {
	text := wrote(ofV1, "0|200|0|1.5|") + wrote("", refuses) + wrote(ofV1, "0|200|0|0.6|") + wrote("HTTP/1.1 299 x\nX-Revision: v2\nX-Rehearsal: x\n\n", okay)
	const vars = "mark=M;header=X-Revision;within=0.5"
	whole := awk(t, awks[0], "answers.awk", vars, "curl|1|0|0\n", "M curl|1\n"+text).stdout
	for i := 0; i < len(text); i += 5 {
		a, bytes := awks[i%len(awks)], 0
		first := awk(t, a, "answers.awk", vars, "curl|1|0|0\n", "M curl|1\n"+text[:i]+"\n").stdout
		fmt.Sscanf(first[strings.Index(first, "curl|1|"):], "curl|1|%d", &bytes)
		second := awk(t, a, "answers.awk", vars, first, "M curl|1\n"+text[bytes:]+"\n").stdout
		if sorted(second) != sorted(whole) {
			t.Fatalf("%s, read up to byte %d, and then from %d: got\n%s\nwant\n%s", a, i, bytes, sorted(second), sorted(whole))
		}
	}
	if before := awk(t, awks[0], "answers.awk", vars+";changed=1", whole).stdout; answerLines(before) != strings.ReplaceAll(answerLines(whole), "answer|", "before|") {
		t.Errorf("after a change: got\n%s", before)
	}
}

// Silence is what fails since anything was answered: 5 is too much.
func TestAnswersSeeSilence(t *testing.T) {
	for _, tt := range []struct{ before, in, want string }{
		{"", wrote("", waits), "5|0"},
		{"silent|0|1\n", wrote("", waits), "3|1"},
		{"silent|3|1\n", wrote("", waits) + wrote("", refuses), "7|1"},
		{"silent|4|0\n", wrote("HTTP/1.1 500 x\n\n", "0|500|0|0|") + wrote("", refuses), "0|1"},
	} {
		got := awk(t, awks[0], "answers.awk", "mark=M", tt.before+"curl|1|0|0\n", "M curl|1\n"+tt.in).stdout
		if first, _, _ := strings.Cut(got, "\n"); first != "silent|"+tt.want {
			t.Errorf("after %s %s: got %s, want %s", tt.before, tt.in, first, tt.want)
		}
	}
}
