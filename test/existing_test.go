package test

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// live is a Service on a stand-in for the API server, for scripts/pin.sh with
// the real kubectl. Traffic is written REVISION,TAG,PERCENT for each entry; the
// latest revision has no name there.
type live struct {
	traffic   string
	serves    string // what status.traffic has for the latest revision, web-2 if it is not said
	created   string // latest revision, the same
	routes    string // condition RoutesReady, True if it is not said
	revisions string // condition ConfigurationsReady, the same
	edited    bool   // and Knative has not seen it yet
	patch     string // what becomes of a patch: "lost" is done without an answer, "late" finds another edit
	patched   bool
}

func TestPin(t *testing.T) {
	tests := []struct {
		name string
		live
		args string
		code int
		want string // traffic at the end; nothing is patched if it is not said
		says string
	}{
		{name: "all traffic follows the latest revision", live: live{traffic: ",,100"},
			want: "web-2,,100 ,latest,0", says: "Pinned."},
		{name: "a split stays, and an unreleased revision gets nothing", live: live{traffic: "web-0,stable,80 web-1,trial,20 ,,0"},
			want: "web-0,stable,80 web-1,trial,20 ,latest,0"},
		{name: "a split without an entry that follows", live: live{traffic: "web-0,stable,80 web-1,trial,20"},
			want: "web-0,stable,80 web-1,trial,20 ,latest,0"},
		{name: "a part follows, under a tag that stays with its revision", live: live{traffic: "web-1,,60 ,next,40"},
			want: "web-1,,60 web-2,next,40 ,latest,0"},
		{name: "a part follows at the tag latest itself", live: live{traffic: "web-1,,60 ,latest,40"},
			want: "web-1,,60 web-2,,40 ,latest,0"},
		{name: "other previews follow on", live: live{traffic: ",,100 ,preview,0 ,head,"},
			want: "web-2,,100 ,preview,0 ,head,0 ,latest,0"},
		{name: "the same revision is named already", live: live{traffic: "web-1,,50 web-2,,20 ,latest,30"},
			want: "web-1,,50 web-2,,50 ,latest,0"},
		{name: "the same revision is named already, with a tag", live: live{traffic: "web-2,good,20 ,,80"},
			want: "web-2,good,20 web-2,,80 ,latest,0"},
		{name: "a newer revision has failed, and never had traffic", live: live{traffic: ",,100", created: "web-3", revisions: "False"},
			want: "web-2,,100 ,latest,0"},
		{name: "a dry run", live: live{traffic: ",,100"}, args: "--dry-run", says: `- {revisionName: "web-2", percent: 100}`},
		{name: "pinned already, in another order", live: live{traffic: ",latest,0 web-1,,100"}, says: "Pinned."},
		{name: "the tag latest is on a name", live: live{traffic: "web-1,latest,100"}, code: 1, says: "--move-tag"},
		{name: "and may move", live: live{traffic: "web-1,latest,100"}, args: "--move-tag", want: "web-1,,100 ,latest,0"},
		{name: "a newer revision starts", live: live{traffic: ",,100", created: "web-3", revisions: "Unknown"},
			code: 1, says: "web-3, the latest revision, is starting"},
		{name: "the latest revision was ready and has failed", live: live{traffic: "web-1,,100", revisions: "False"},
			code: 1, says: "roll back first"},
		{name: "a gradual rollout", live: live{traffic: ",,100", serves: "web-1", routes: "Unknown"}, code: 1, says: "RoutesReady-reason"},
		{name: "the route has not followed yet", live: live{traffic: ",,100", serves: "web-1"}, code: 1, says: "its traffic changes"},
		{name: "an edit that Knative has not seen", live: live{traffic: ",,100", edited: true}, code: 1, says: "edited just now"},
		{name: "the answer to the patch is lost", live: live{traffic: ",,100", patch: "lost"}, want: "web-2,,100 ,latest,0", says: "Pinned."},
		{name: "somebody edits between look and patch", live: live{traffic: ",,100", patch: "late"}, code: 1, says: "Conflict"},
		{name: "an unknown option", live: live{traffic: ",,100"}, args: "--dryrun", code: 2, says: `there is no option "--dryrun"`},
		{name: "a context that is not there", live: live{traffic: ",,100"}, args: "--context other", code: 2, says: `"other"`},
		{name: "no name for the context", live: live{traffic: ",,100"}, args: "--context", code: 2, says: "--context needs a name"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			l, before := &tt.live, tt.traffic
			code, out := l.pin(t, tt.args)
			if want := cmp.Or(tt.want, before); code != tt.code || l.traffic != want || !strings.Contains(out, tt.says) {
				t.Errorf("exit %d, traffic %q; want %d, %q and the words %q in\n%s", code, l.traffic, tt.code, want, tt.says, out)
			}
			if tt.want == "" && l.patched {
				t.Error("it patches")
			}
		})
	}
}

// pin runs scripts/pin.sh, and returns how it ended and what it said.
func (l *live) pin(t *testing.T, args string) (int, string) {
	if _, err := exec.LookPath("kubectl"); err != nil {
		t.Skip("kubectl is not installed")
	}
	server := httptest.NewServer(l)
	defer server.Close()
	config := filepath.Join(t.TempDir(), "config")
	write(t, config, `{"current-context": "c", "contexts": [{"name": "c", "context": {"cluster": "c"}}],
		"clusters": [{"name": "c", "cluster": {"server": "`+server.URL+`"}}]}`)
	cmd := exec.Command("bash", append([]string{"scripts/pin.sh"}, strings.Fields(args)...)...)
	cmd.Env = append(os.Environ(), "KUBECONFIG="+config, "HOME="+filepath.Dir(config), "SVC_NAME=web", "NAMESPACE=shop")
	out, err := cmd.CombinedOutput()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), string(out)
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
	var to struct {
		Metadata struct{ ResourceVersion string }
		Spec     struct {
			Traffic []struct {
				RevisionName, Tag string
				Percent           int
			}
		}
	}
	if json.NewDecoder(r.Body).Decode(&to) != nil || to.Metadata.ResourceVersion != "7" || l.patch == "late" {
		return false
	}
	l.traffic, l.patched = "", true
	for _, e := range to.Spec.Traffic {
		l.traffic = strings.TrimSpace(fmt.Sprintf("%s %s,%s,%d", l.traffic, e.RevisionName, e.Tag, e.Percent))
	}
	return true
}

func (l *live) object() object {
	condition := func(name, status string) object {
		return object{"type": name, "status": cmp.Or(status, "True"), "reason": name + "-reason"}
	}
	generation := map[bool]int{false: 1, true: 2}[l.edited]
	return object{
		"apiVersion": "serving.knative.dev/v1", "kind": "Service",
		"metadata": object{"name": "web", "namespace": "shop", "resourceVersion": "7", "generation": generation},
		"spec":     object{"traffic": json.RawMessage(targets(l.traffic))},
		"status": object{
			"observedGeneration":        1,
			"latestCreatedRevisionName": cmp.Or(l.created, "web-2"),
			"latestReadyRevisionName":   "web-2",
			"conditions":                []object{condition("RoutesReady", l.routes), condition("ConfigurationsReady", l.revisions)},
			"traffic": []object{{"revisionName": "web-1", "latestRevision": false, "percent": 50},
				{"revisionName": cmp.Or(l.serves, "web-2"), "latestRevision": true, "percent": 50}},
		},
	}
}

// targets is such traffic in JSON, which YAML has, too.
func targets(traffic string) string {
	var all []string
	for _, words := range strings.Fields(traffic) {
		word := strings.Split(words, ",")
		entry := fmt.Sprintf(`{"latestRevision": %t`, word[0] == "")
		for i, format := range []string{`, "revisionName": %q`, `, "tag": %q`, `, "percent": %s`} {
			if word[i] != "" {
				entry += fmt.Sprintf(format, word[i])
			}
		}
		all = append(all, entry+"}")
	}
	return "[" + strings.Join(all, ", ") + "]"
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
	for _, name := range []string{"revision-v1.yaml", "revision-v2.yaml", "revision-v3.yaml", "revision-v3-2.yaml"} {
		overlay := strings.ReplaceAll(content(t, "examples/kustomize/kustomization.yaml"), "../../revision-v1.yaml", name)
		got := kustomize(t, program, map[string]string{name: content(t, name), "kustomization.yaml": overlay,
			"names.yaml": content(t, "examples/kustomize/names.yaml")})
		plain := kustomize(t, program, map[string]string{name: content(t, name), "kustomization.yaml": "resources: [" + name + "]"})
		want := strings.NewReplacer(
			"stock-service-example", "shop-stock-service-example",
			"namespace: default", "namespace: shop",
			"        image: dev.local/", "        - name: QUOTE_TTL\n          value: 30s\n        image: registry.example.com/shop/",
		).Replace(plain)
		if got != want {
			t.Errorf("%s becomes\n%s\nand not\n%s", name, got, want)
		}
	}
}

// kustomize builds a folder of these files.
func kustomize(t *testing.T, program string, files map[string]string) string {
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

func content(t *testing.T, name string) string {
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
