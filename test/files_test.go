package test

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

// appliedFiles are the files in the order in which a walk applies them, with
// the traffic and the latest revision that each gives.
var appliedFiles = []struct{ name, split, latest string }{
	{"revision-v1.yaml", "v1=100", "v1"},
	{"revision-v2.yaml", "v1=50,v2=50", "v2"},
	{"revision-v3.yaml", "v1=50,v2=50,v3=0", "v3"},
	{"revision-v3-2.yaml", "v1=40,v2=30,v3=30", "v3"},
	{"revision-v2.yaml", "v1=50,v2=50", "v2"}, // rolls back, and v2 is the latest again
	{"revision-v3.yaml", "v1=50,v2=50,v3=0", "v3"},
	{"revision-v1.yaml", "v1=100", "v1"},
}

// The files are one Service: their templates differ in the revision's name and
// RESOURCE alone, and that of the bad release in its fault. (Their traffic is
// checked by the rehearsal's tests, and by the walk on a cluster.)
func TestFilesHaveOneTemplate(t *testing.T) {
	const fault = "            # nine of ten answers are a 500: a release to be rolled back\n" +
		"            - name: ERROR_RATE\n              value: \"0.9\"\n"
	var first string
	for _, name := range []string{"revision-v1.yaml", "revision-v2.yaml", "revision-v3.yaml", "revision-v3-2.yaml", "examples/revision-v4-bad.yaml"} {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		template, _, _ := strings.Cut(string(text), "\n  traffic:\n")
		version := regexp.MustCompile(`v\d`).FindString(name)
		general := strings.NewReplacer("example-"+version, "example-vN", "value: "+version, "value: vN", fault, "").Replace(template)
		if first == "" {
			first = general
		}
		if general != first || strings.Count(general, "vN") != 2 {
			t.Errorf("%s differs from revision-v1.yaml in more than its version", name)
		}
	}
}
