package test

import (
	"cmp"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// live is a Service on a stand-in for the API server. Its traffic is written
// REVISION,TAG,PERCENT for each entry, with @latest for the latest revision.
type live struct {
	traffic   string
	serves    string // what status.traffic has for the latest revision, if not web-2
	created   string // latest revision, if not web-2, which is the latest one that got ready
	routes    string // condition RoutesReady, if not True
	revisions string // condition ConfigurationsReady, if not True
	edited    bool   // and Knative has not seen it yet
	patch     string // what becomes of a patch: "lost" is done without an answer, "late" finds another edit
	patched   bool
	kept      string // the canary's annotation
}

func TestPin(t *testing.T) {
	const split, follow, newer, failed = "web-0,stable,80 web-1,trial,20", "@latest,,100", "web-3", "False"
	tests := []struct {
		name string
		live
		args  string
		code  int
		after string // no patch if it is empty
		says  string
	}{
		{"all follows", live{traffic: follow}, "", 0, "web-2,,100 @latest,latest,0", "Pinned."},
		{"a split, and a revision without traffic", live{traffic: split + " @latest,,0"}, "", 0, split + " @latest,latest,0", ""},
		{"a part follows, with a tag", live{traffic: "web-1,,60 @latest,next,40"}, "", 0, "web-1,,60 web-2,next,40 @latest,latest,0", ""},
		{"a part at the tag itself", live{traffic: "web-1,,60 @latest,latest,40"}, "", 0, "web-1,,60 web-2,,40 @latest,latest,0", ""},
		{"previews", live{traffic: follow + " @latest,pr,0 @latest,head,"}, "", 0, "web-2,,100 @latest,pr,0 @latest,head,0 @latest,latest,0", ""},
		{"named already", live{traffic: "web-1,,50 web-2,,20 @latest,latest,30"}, "", 0, "web-1,,50 web-2,,50 @latest,latest,0", ""},
		{"with a tag", live{traffic: "web-2,good,20 @latest,,80"}, "", 0, "web-2,good,20 web-2,,80 @latest,latest,0", ""},
		{"a newer one has failed", live{traffic: follow, created: newer, revisions: failed}, "", 0, "web-2,,100 @latest,latest,0", ""},
		{"a dry run", live{traffic: follow}, "--dry-run", 0, "", `- {revisionName: "web-2", percent: 100}`},
		{"pinned, in another order", live{traffic: "@latest,latest,0 web-1,,100"}, "", 0, "", "pinned already"},
		{"the tag is on a name", live{traffic: "web-1,latest,100"}, "", 1, "", "--move-tag"},
		{"and may move", live{traffic: "web-1,latest,100"}, "--move-tag", 0, "web-1,,100 @latest,latest,0", ""},
		{"a newer one starts", live{traffic: follow, created: newer, revisions: "Unknown"}, "", 1, "", "web-3, the latest revision, is starting"},
		{"the latest has failed", live{traffic: "web-1,,100", revisions: failed}, "", 1, "", "or has failed: wait"},
		{"a rollout", live{traffic: follow, serves: "web-1", routes: "Unknown"}, "", 1, "", "RoutesReady-reason"},
		{"the route is late", live{traffic: follow, serves: "web-1"}, "", 1, "", "its traffic changes"},
		{"Knative is late", live{traffic: follow, edited: true}, "", 1, "", "edited just now"},
		{"the answer is lost", live{traffic: follow, patch: "lost"}, "", 0, "web-2,,100 @latest,latest,0", "Pinned."},
		{"an edit in between", live{traffic: follow, patch: "late"}, "", 1, "", "Conflict"},
		{"a release is under way", live{traffic: split, kept: follow}, "", 1, "", "a release by canary.sh is under way"},
		{"no such option", live{traffic: follow}, "--dryrun", 2, "", `there is no option "--dryrun"`},
		{"no such context", live{traffic: follow}, "--context other", 2, "", `"other"`},
		{"no context", live{traffic: follow}, "--context", 2, "", "--context needs a name"},
	}
	path, err := exec.LookPath("kubectl")
	if err != nil {
		t.Skip("kubectl is not installed, and its stub does not know all that pin.sh needs")
	}
	read(t, "scripts/pin.sh") // go test's cache learns that it depends on it
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			l, want := &tt.live, cmp.Or(tt.after, tt.traffic)
			server := httptest.NewServer(l)
			defer server.Close()
			got := finished(t, command(t, path, server.URL, "scripts/pin.sh", strings.Fields(tt.args),
				[]string{"PATH=" + os.Getenv("PATH"), "SVC_NAME=web", "NAMESPACE=shop"}))
			says := strings.Contains(got.stdout+got.stderr, tt.says)
			if got.code != tt.code || l.traffic != want || l.patched != (tt.after != "") || !says {
				t.Errorf("traffic %q; want exit %d, %q, and the words %q in\n%v", l.traffic, tt.code, want, tt.says, got)
			}
		})
	}
}

func (l *live) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch {
	case r.URL.Path != "/apis/serving.knative.dev/v1/namespaces/shop/services/web":
		new(cluster).ServeHTTP(w, r)
	case r.Method == "PATCH" && !l.take(r):
		reply(w, 409, failure(409, "Conflict", "the object has been modified"))
	case r.Method == "PATCH" && l.patch == "lost":
		panic(http.ErrAbortHandler)
	default:
		reply(w, 200, l.object())
	}
}

// take does a patch, unless the Service has changed since it was read.
func (l *live) take(r *http.Request) bool {
	var to mergePatch
	if json.NewDecoder(r.Body).Decode(&to) != nil || to.Metadata.ResourceVersion != "7" || l.patch == "late" {
		return false
	}
	l.traffic, l.patched = words(to.Spec.Traffic), true
	return true
}

func (l *live) object() object {
	all := ksvc{spec: l.traffic, status: "web-1,,50 " + cmp.Or(l.serves, "web-2") + ",,50", latest: cmp.Or(l.created, "web-2"),
		edited: map[bool]int{true: 2}[l.edited], seen: 1, routes: cmp.Or(l.routes, "True") + " RoutesReady-reason"}.object()
	metadata, status := all["metadata"].(object), all["status"].(object)
	metadata["resourceVersion"], metadata["annotations"] = "7", object{kept: l.kept}
	status["latestReadyRevisionName"], status["traffic"].([]any)[1].(object)["latestRevision"] = "web-2", true
	status["conditions"].([]any)[0] = condition("ConfigurationsReady", cmp.Or(l.revisions, "True"))
	return all
}

// The overlay gives each of the four files other names everywhere, and loses nothing.
func TestKustomize(t *testing.T) {
	const tool = "sigs.k8s.io/kustomize/kustomize/v5@v5.8.2"
	dir, install := t.TempDir(), exec.Command("go", "install", tool)
	install.Env = append(os.Environ(), "GOBIN="+dir)
	if out, err := install.CombinedOutput(); err != nil {
		t.Skipf("%s cannot be had here: %s", tool, out)
	}
	program := filepath.Join(dir, "kustomize")
	build := func(files map[string]string) string {
		dir := t.TempDir()
		for name, text := range files {
			write(t, filepath.Join(dir, name), text)
		}
		out, err := exec.Command(program, "build", dir).CombinedOutput()
		if err != nil {
			t.Fatalf("kustomize: %s", out)
		}
		return string(out)
	}
	overlay, names := read(t, "examples/kustomize/kustomization.yaml"), read(t, "examples/kustomize/names.yaml")
	for _, name := range glob(t, "revision-*.yaml") {
		got := build(map[string]string{name: read(t, name), "names.yaml": names,
			"kustomization.yaml": strings.ReplaceAll(overlay, "../../revision-v1.yaml", name)})
		want := strings.NewReplacer(
			"stock-service-example", "shop-stock-service-example",
			"namespace: default", "namespace: shop",
			"        image: dev.local/", "        - name: QUOTE_TTL\n          value: 30s\n        image: registry.example.com/shop/",
		).Replace(build(map[string]string{name: read(t, name), "kustomization.yaml": "resources: [" + name + "]"}))
		if got != want {
			t.Errorf("%s becomes\n%s\nand not\n%s", name, got, want)
		}
	}
}
