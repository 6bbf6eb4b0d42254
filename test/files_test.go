package test

import (
	"regexp"
	"strings"
	"testing"
)

// The files are one Service: their templates differ in the revision's name and
// RESOURCE alone, and that of the bad release in its fault. (Their traffic is
// checked by the rehearsal's tests, and by the walk on a cluster.)
func TestFilesHaveOneTemplate(t *testing.T) {
	const fault = "            # nine of ten answers are a 500: a release to be rolled back\n" +
		"            - name: ERROR_RATE\n              value: \"0.9\"\n"
	var first string
	for _, name := range glob(t, "revision-*.yaml", "examples/revision-v4-bad.yaml") {
		template, _, _ := strings.Cut(read(t, name), "\n  traffic:\n")
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
