//go:build e2e

package test

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// TestE2EKnative shows what docs/knative.md and docs/existing-service.md say of
// Knative, so that a version that does otherwise is noticed. The numbers are
// those of docs/knative.md.
//
//	go test -count=1 -tags e2e -run E2EKnative -v -timeout 30m ./test
func TestE2EKnative(t *testing.T) {
	w := newWalk(t)
	t.Run("all", func(t *testing.T) {
		for name, fact := range map[string]func(*testing.T, *walk){
			"a revision that has failed blocks the whole list":     failedRevisionBlocks,
			"without names the next release revives the bad one":   nextReleaseRevives,
			"a name is refused only after a template of that name": nameIsTakenLater,
			"a gradual rollout takes the tag latest along":         rolloutOfTheTag,
			"a revision listed twice is never Ready":               listedTwice,
			"a live service is pinned, and keeps its split":        liveServiceIsPinned,
			"who owns the traffic":                                 ownersOfTheTraffic,
			"only the server sees a wrong field":                   onlyTheServerSees,
		} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				fact(t, w)
			})
		}
	})
}

const gone = "dev.local/none:v1" // an image that no node has

func failedRevisionBlocks(t *testing.T, w *walk) {
	w.bash(t, 0, "kubectl create configmap crash --namespace $NAMESPACE --from-literal rate=0")
	w.revision(t, "crash", "v1", "crash-v1,v1,100")
	w.ready(t, "crash")
	w.revision(t, "crash", "v2", "crash-v1,v1,50 crash-v2,v2,50", env("RESOURCE", "v2"), `- name: ERROR_RATE
              valueFrom: {configMapKeyRef: {name: crash, key: rate}}`)
	w.ready(t, "crash")
	w.bash(t, 0, `kubectl patch configmap crash --namespace $NAMESPACE --patch '{"data": {"rate": "nonsense"}}'
		kubectl delete pod --namespace $NAMESPACE --selector serving.knative.dev/revision=crash-v2 --wait=false`)
	w.await(t, "crash", `{.status.conditions[?(@.type=="ConfigurationsReady")].status}`, "False")
	w.traffic(t, "crash", "crash-v1,v1,100 crash-v2,v2,0")
	w.await(t, "crash", `{.status.conditions[?(@.type=="RoutesReady")].reason}`, "RevisionMissing")
	w.stays(t, "crash", "{.status.traffic[*].percent}", "50 50")
	w.traffic(t, "crash", "crash-v1,v1,100")
	w.await(t, "crash", "{.status.traffic[*].percent}", "100")
}

func nextReleaseRevives(t *testing.T, w *walk) {
	for _, v := range []string{"v1", "v2", "v1"} {
		w.revision(t, "revive", v, "")
		w.await(t, "revive", "{.status.traffic[*].revisionName}", "revive-"+v)
	}
	w.revision(t, "revive", "v3", "", image(), gone)
	w.await(t, "revive", "{.status.traffic[*].revisionName}", "revive-v2")
}

func nameIsTakenLater(t *testing.T, w *walk) {
	for _, v := range []string{"v1", "v2"} {
		w.revision(t, "taken", v, "taken-v1,,100")
		w.ready(t, "taken")
	}
	w.told(t, w.tries(t, 1, "taken", "v2", "taken-v1,,100", "value: v2", "value: other"), "without a name change")
	w.tries(t, 0, "taken", "v1", "taken-v1,,50 taken-v2,,50", "value: v1", "value: other")
	w.await(t, "taken", `{.status.conditions[?(@.type=="Ready")].reason}`, "RevisionNameTaken")
	w.traffic(t, "taken", "taken-v1,,10 taken-v2,,90")
	w.stays(t, "taken", "{.status.traffic[*].percent}", "100")

	// an annotation is no such difference: the revision keeps those it was made with
	w.revision(t, "taken", "v2", "taken-v1,,40 taken-v2,,60", "name: taken-v2", `name: taken-v2
      annotations: {autoscaling.knative.dev/min-scale: "1"}`)
	w.ready(t, "taken")
	w.bash(t, 0, `[[ $(kubectl get revision taken-v2 --namespace $NAMESPACE --output yaml) != *min-scale* ]]`)
}

func rolloutOfTheTag(t *testing.T, w *walk) {
	const slowly = "namespace: %[1]s\n  annotations: {serving.knative.dev/rollout-duration: 120s}"
	for _, v := range []string{"v1", "v2"} {
		w.revision(t, "roll", v, "roll-v1,,100 ,latest,0", "namespace: "+w.namespace, fmt.Sprintf(slowly, w.namespace))
		w.await(t, "roll", "{.status.latestReadyRevisionName}", "roll-"+v)
	}
	w.await(t, "roll", `{.status.traffic[?(@.tag=="latest")].revisionName}`, "roll-v1 roll-v2")
	w.await(t, "roll", `{.status.conditions[?(@.type=="Ready")].reason}`, "RolloutInProgress")
	w.traffic(t, "roll", "roll-v1,,100 roll-v2,preview,0")
	w.await(t, "roll", `{.status.traffic[?(@.tag=="preview")].revisionName}`, "roll-v2")
	w.ready(t, "roll")
}

func listedTwice(t *testing.T, w *walk) {
	w.revision(t, "twice", "v1", "")
	w.ready(t, "twice")
	for _, traffic := range []string{"twice-v1,,70 twice-v1,,30", "twice-v1,,100 twice-v1,,0"} {
		w.traffic(t, "twice", traffic)
		w.await(t, "twice", `{.status.conditions[?(@.type=="Ready")].reason}`, "TrafficNotMigrated")
	}
	w.traffic(t, "twice", "twice-v1,a,70 twice-v1,b,30")
	w.ready(t, "twice")
	w.traffic(t, "twice", "twice-v1,,100 ,latest,0")
	w.ready(t, "twice")
}

func liveServiceIsPinned(t *testing.T, w *walk) {
	const before = "live-v1,stable,80 live-v2,trial,20"
	w.revision(t, "live", "v1", "")
	w.ready(t, "live")
	w.revision(t, "live", "v2", before)
	w.ready(t, "live")
	w.revision(t, "live", "v3", before+" ,,0")
	w.ready(t, "live")
	w.told(t, w.bash(t, 0, "SVC_NAME=live "+root(t)+"/scripts/pin.sh"), "set-last-applied")
	w.ready(t, "live")
	shares := func(want string) { w.await(t, "live", "{.status.traffic[*].percent}", want) }
	shares("80 20 0")

	// a file that has lost its traffic since it was applied would take the traffic away
	w.file(t, "live", "v3", "")
	w.bash(t, 0, "kubectl apply set-last-applied -f live-v3.yaml")
	w.revision(t, "live", "v4", "")
	w.await(t, "live", `{.status.traffic[?(@.tag=="latest")].revisionName}`, "live-v4")
	shares("80 20 0")
	w.revision(t, "live", "v5", before)
	w.revision(t, "live", "v5", "")
	shares("100")
}

func ownersOfTheTraffic(t *testing.T, w *walk) {
	named := func(want string) { w.await(t, "owner", "{.spec.traffic[*].revisionName}", want) }
	w.revision(t, "owner", "v1", "")
	w.ready(t, "owner")
	w.traffic(t, "owner", "owner-v1,,100 ,latest,0")
	w.revision(t, "owner", "v2", "")
	named("owner-v1")
	w.bash(t, 0, "kubectl apply --server-side --force-conflicts -f owner-v2.yaml")
	named("owner-v1")
	w.file(t, "owner", "v2", "owner-v2,,100")
	w.told(t, w.bash(t, 1, "kubectl apply --server-side -f owner-v2.yaml"), ".spec.traffic")
	w.bash(t, 0, "kubectl apply --server-side --force-conflicts -f owner-v2.yaml")
	named("owner-v2")
}

func onlyTheServerSees(t *testing.T, w *walk) {
	w.file(t, "wrong", "v1", "wrong-v1,,100", "percent:", "percents:")
	w.bash(t, 0, "kubectl apply --dry-run=client --validate=strict -f wrong-v1.yaml")
	w.told(t, w.bash(t, 1, "kubectl apply --dry-run=server -f wrong-v1.yaml"), "percents")

	build := "cd " + root(t) + " && kubectl kustomize --load-restrictor LoadRestrictionsNone examples/kustomize |" +
		" sed s/namespace:.shop/namespace:\\ $NAMESPACE/ | kubectl apply --dry-run=server -f -"
	w.told(t, w.bash(t, 0, build), "shop-stock-service-example created")
}

func root(t *testing.T) string {
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// file writes revision-v1.yaml as that of another Service and revision, with
// this traffic, written REVISION,TAG,PERCENT for each entry, and these changes.
func (w *walk) file(t *testing.T, service, revision, traffic string, changes ...string) {
	t.Helper()
	text, _, _ := strings.Cut(w.manifest(t, "revision-v1.yaml"), "  traffic:\n")
	text = strings.NewReplacer("stock-service-example-v1", service+"-"+revision, "stock-service-example", service, "value: v1", "value: "+revision).Replace(text)
	if traffic != "" {
		text += "  traffic: " + targets(traffic) + "\n"
	}
	w.write(t, service+"-"+revision+".yaml", strings.NewReplacer(changes...).Replace(text))
}

// revision applies such a file.
func (w *walk) revision(t *testing.T, service, revision, traffic string, changes ...string) {
	t.Helper()
	w.tries(t, 0, service, revision, traffic, changes...)
}

func (w *walk) tries(t *testing.T, code int, service, revision, traffic string, changes ...string) string {
	t.Helper()
	w.file(t, service, revision, traffic, changes...)
	return w.bash(t, code, "kubectl apply -f "+service+"-"+revision+".yaml")
}

// traffic patches the traffic, as a canary does.
func (w *walk) traffic(t *testing.T, service, traffic string) {
	t.Helper()
	w.bash(t, 0, "kubectl patch ksvc "+service+" --namespace $NAMESPACE --type merge --patch 'spec: {traffic: "+targets(traffic)+"}'")
}

func (w *walk) ready(t *testing.T, service string) {
	t.Helper()
	w.bash(t, 0, "kubectl wait ksvc/"+service+" --namespace $NAMESPACE --timeout 120s --for condition=Ready")
}

// await waits until the Service's fields at a JSONPath are as wanted.
func (w *walk) await(t *testing.T, service, path, want string) {
	t.Helper()
	var got []byte
	for range 120 {
		got, _ = exec.Command("kubectl", "get", "ksvc", service, "--namespace", w.namespace, "--output", "jsonpath="+path).Output()
		if string(got) == want {
			return
		}
		time.Sleep(time.Second)
	}
	t.Fatalf("%s of %s is %q, want %q", path, service, got, want)
}

// stays expects that what is so stays so.
func (w *walk) stays(t *testing.T, service, path, want string) {
	t.Helper()
	for range 3 {
		time.Sleep(2 * time.Second)
		w.await(t, service, path, want)
	}
}
