//go:build e2e

package test

import (
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestE2EKnative shows what docs/knative.md and docs/existing-service.md say of
// Knative, so that a version that does otherwise is noticed.
//
//	go test -count=1 -tags e2e -run E2EKnative -v -timeout 40m ./test
func TestE2EKnative(t *testing.T) {
	w := newWalk(t)
	for _, name := range glob(t, "examples/kustomize/*") {
		w.write(t, name, strings.Replace(w.manifest(t, name), "namespace: shop", "namespace: "+w.namespace, 1))
	}
	var all sync.WaitGroup
	for name, fact := range map[string]func(*testing.T){
		"a revision that has failed blocks the list": func(t *testing.T) {
			w.bash(t, 0, "kubectl create configmap crash --namespace $NAMESPACE --from-literal rate=0")
			w.ready(t, "crash", "v1", "")
			w.ready(t, "crash", "v2", "crash-v1,,50 crash-v2,,50", "value: v2", `value: v2
            - name: ERROR_RATE
              valueFrom: {configMapKeyRef: {name: crash, key: rate}}`)
			w.bash(t, 0, `kubectl patch configmap crash --namespace $NAMESPACE --patch '{"data": {"rate": "nonsense"}}'
		kubectl delete pod --namespace $NAMESPACE --selector serving.knative.dev/revision=crash-v2 --wait=false`)
			w.bash(t, 0, `until [[ $(kubectl get ksvc crash --namespace $NAMESPACE --output 'jsonpath={.status.conditions[*].status}') == False* ]]; do
				((++n < 150)) && sleep 1 && kubectl annotate --overwrite revision crash-v2 --namespace $NAMESPACE looked-at=$n || exit
			done`) // Knative looks at the pods only when something else of the revision changes
			w.patch(t, "crash", traffic("crash-v1,,100 crash-v2,tag,0"))
			w.await(t, "crash", `{.status.conditions[?(@.type=="RoutesReady")].reason}`, "RevisionMissing")
			w.stays(t, "crash", percents, "50 50")
			w.patch(t, "crash", traffic("crash-v1,,100"))
			w.await(t, "crash", percents, "100")
			w.told(t, w.bash(t, 1, "SVC_NAME=crash scripts/pin.sh"), "crash-v2, the latest revision, is starting, or has failed")
		},
		"without names a release revives the bad one": func(t *testing.T) {
			for _, v := range []string{"v1", "v2", "v1"} {
				w.ready(t, "revive", v, "")
			}
			w.applies(t, 0, "revive", "v3", "", image(), "dev.local/none:v1")
			w.await(t, "revive", names, "revive-v2")
		},
		"a name that is taken is noticed late": func(t *testing.T) {
			w.ready(t, "taken", "v1", "taken-v1,,100")
			w.ready(t, "taken", "v2", "taken-v1,,100")
			w.told(t, w.applies(t, 1, "taken", "v2", "taken-v1,,100", "value: v2", "value: other"), "without a name change")
			w.applies(t, 0, "taken", "v1", "taken-v1,,100", "value: v1", "value: other")
			w.await(t, "taken", reason, "RevisionNameTaken")
			w.patch(t, "taken", traffic("taken-v1,,10 taken-v2,,90"))
			w.stays(t, "taken", percents, "100")
			// an annotation is no such difference, and does not reach the revision
			w.ready(t, "taken", "v2", "taken-v1,,40 taken-v2,,60", "name: taken-v2", `name: taken-v2
      annotations: {autoscaling.knative.dev/min-scale: "1"}`)
			w.await(t, "taken", percents, "40 60")
			w.bash(t, 1, "kubectl get revision taken-v2 --namespace $NAMESPACE --output yaml | grep min-scale")
		},
		"a rollout takes the tag latest along": func(t *testing.T) {
			slowly := []string{"namespace:", "annotations: {serving.knative.dev/rollout-duration: 120s}\n  namespace:"}
			w.ready(t, "roll", "v1", "roll-v1,,100 @latest,latest,0", slowly...)
			w.applies(t, 0, "roll", "v2", "roll-v1,,100 @latest,latest,0", slowly...)
			w.await(t, "roll", `{.status.traffic[?(@.tag=="latest")].revisionName}`, "roll-v1 roll-v2")
			w.await(t, "roll", reason, "RolloutInProgress")
			w.patch(t, "roll", traffic("roll-v1,,100 roll-v2,preview,0"))
			w.await(t, "roll", names+reason, "roll-v1 roll-v2")
		},
		"a revision listed twice is never Ready": func(t *testing.T) {
			w.ready(t, "twice", "v1", "")
			for _, split := range []string{"twice-v1,,70 twice-v1,,30", "twice-v1,,100 twice-v1,,0"} {
				w.patch(t, "twice", traffic(split))
				w.stays(t, "twice", reason, "TrafficNotMigrated")
			}
			w.patch(t, "twice", traffic("twice-v1,a,70 twice-v1,b,30"))
			w.await(t, "twice", percents+reason, "70 30")
			w.patch(t, "twice", traffic("twice-v1,,100 @latest,latest,0"))
			w.await(t, "twice", percents+reason, "100 0")
		},
		"a live service keeps its split": func(t *testing.T) {
			const split = "live-v1,stable,80 live-v2,trial,20"
			w.ready(t, "live", "v1", "")
			w.ready(t, "live", "v2", split)
			w.ready(t, "live", "v3", split+" @latest,,0")
			w.bash(t, 0, "SVC_NAME=live scripts/pin.sh")
			w.await(t, "live", "{.spec.traffic[*].tag}"+percents, "stable trial latest80 20 0")
			// what the file has lost since it was applied last, apply takes away
			w.file(t, "live", "v3", "")
			w.bash(t, 0, "kubectl apply set-last-applied -f live-v3.yaml")
			w.ready(t, "live", "v4", "")
			w.await(t, "live", names+percents, "live-v1 live-v2 live-v480 20 0")
			w.ready(t, "live", "v4", split)
			w.ready(t, "live", "v4", "")
			w.await(t, "live", names+percents, "live-v4100")
		},
		"the traffic has an owner": func(t *testing.T) {
			const named = "{.spec.traffic[*].revisionName}"
			w.ready(t, "owner", "v1", "")
			w.patch(t, "owner", traffic("owner-v1,,100 @latest,latest,0"))
			w.ready(t, "owner", "v2", "")
			w.await(t, "owner", named, "owner-v1")
			w.bash(t, 0, "kubectl apply --server-side --force-conflicts -f owner-v2.yaml")
			w.await(t, "owner", named, "owner-v1")
			w.file(t, "owner", "v2", "owner-v2,,100")
			w.told(t, w.bash(t, 1, "kubectl apply --server-side -f owner-v2.yaml"), ".spec.traffic")
			w.bash(t, 0, "kubectl apply --server-side --force-conflicts -f owner-v2.yaml")
			w.await(t, "owner", named, "owner-v2")
		},
		"the server alone sees a wrong field": func(t *testing.T) {
			w.file(t, "wrong", "v1", "wrong-v1,,100", "percent", "percents")
			w.bash(t, 0, "kubectl apply --dry-run=client --validate=strict -f wrong-v1.yaml")
			w.told(t, w.bash(t, 1, "kubectl apply --dry-run=server -f wrong-v1.yaml"), "percents")
			const build = "kubectl kustomize --load-restrictor LoadRestrictionsNone examples/kustomize"
			w.told(t, w.bash(t, 0, build+" | kubectl apply --dry-run=server -f -"), "created")
		},
		"probes are spared": func(t *testing.T) {
			w.ready(t, "bad", "v1", "", env("RESOURCE", "v1"), env("RESOURCE", "v1", "ERROR_RATE", `"1"`, "LATENCY", "2s"))
			w.told(t, w.bash(t, 1, "SVC_NAME=bad ./run-test.sh 5"), "5 of 5 requests failed: status 500 from bad-v1")
			w.told(t, w.bash(t, 1, "SVC_NAME=bad ./run-test.sh 5 -- --user-agent kube-probe/1.36"), "name no revision")
		},
	} {
		all.Go(func() { t.Run(name, func(t *testing.T) { fact(t) }) }) // all at once, on few cores, too
	}
	all.Wait()
}

const percents, names = "{.status.traffic[*].percent}", "{.status.traffic[*].revisionName}"
const reason = `{.status.conditions[?(@.type=="Ready")].reason}`

// file writes revision-v1.yaml as that of another Service, with this split
// and these changes.
func (w *walk) file(t *testing.T, service, revision, split string, changes ...string) {
	text, _, _ := strings.Cut(w.manifest(t, "revision-v1.yaml"), "  traffic:\n")
	text = strings.NewReplacer("stock-service-example-v1", service+"-"+revision, "stock-service-example", service,
		"value: v1", "value: "+revision).Replace(text)
	if split != "" {
		text += "  traffic: " + traffic(split) + "\n"
	}
	w.write(t, service+"-"+revision+".yaml", strings.NewReplacer(changes...).Replace(text))
}

// applies applies such a file.
func (w *walk) applies(t *testing.T, code int, service, revision, split string, changes ...string) string {
	w.file(t, service, revision, split, changes...)
	return w.bash(t, code, "kubectl apply -f "+service+"-"+revision+".yaml")
}

// ready does it, and waits until the Service is Ready.
func (w *walk) ready(t *testing.T, service, revision, split string, changes ...string) {
	w.applies(t, 0, service, revision, split, changes...)
	w.bash(t, 0, "kubectl wait ksvc/"+service+" --namespace $NAMESPACE --timeout 180s --for condition=Ready")
}

// await waits until fields of the Service are as wanted.
func (w *walk) await(t *testing.T, service, fields, want string) {
	t.Helper()
	var got []byte
	for range 120 {
		got, _ = exec.Command("kubectl", "get", "ksvc", service, "--namespace", w.namespace, "--output", "jsonpath="+fields).Output()
		if string(got) == want {
			return
		}
		time.Sleep(time.Second)
	}
	t.Fatalf("%s of %s is %q, want %q", fields, service, got, want)
}

// stays expects that they are so, and are so later.
func (w *walk) stays(t *testing.T, service, fields, want string) {
	w.await(t, service, fields, want)
	time.Sleep(5 * time.Second)
	w.await(t, service, fields, want)
}
