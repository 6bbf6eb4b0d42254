package test

import (
	"testing"
)

// pinned is traffic that new revisions do not get.
var pinned = []target{{"v1", "", 50}, {"v2", "", 50}}

// split10 is the table of 10 answers of it.
const split10 = `REVISION                  TAG  EXPECTED  OBSERVED  COUNT
stock-service-example-v1            50%     50.0%      5  #####
stock-service-example-v2            50%     50.0%      5  #####
`

// rollout is a state in which Knative shifts the traffic gradually.
func rollout(traffic ...target) object {
	return service(2, 2, "Unknown", "RolloutInProgress", "A gradual rollout of the latest revision(s) is in progress.", traffic...)
}

// The Service before, while and after the requests are sent.
func TestScriptsWaitForService(t *testing.T) {
	runCases(t, []scriptCase{
		{
			name: "it waits until the last apply is taken up", args: "2",
			cluster: []object{
				service(2, 1, "True", "", "", allV1...),
				service(2, 2, "Unknown", "OutOfDate", "", allV1...),
				service(2, 2, "False", "RevisionMissing", "of the apply before", allV1...),
				lingering(service(2, 2, "True", "", "", split5050...), allV1...),
				service(2, 2, "True", "", "", split5050...),
			},
			answers: answers{from("v1"), from("v2")},
			stdout: "2" + to +
				`REVISION                  TAG     EXPECTED  OBSERVED  COUNT
stock-service-example-v1  v1           50%     50.0%      1  #####
stock-service-example-v2  v2           50%     50.0%      1  #####
stock-service-example-v3  latest        0%      0.0%      0

ok: no request failed, and each share fits its percentage
with 2 requests, 0.0% to 100.0% pass for 50%, and failures of one in 1 show 99 times in 100
`,
		},
		{
			name: "a failure of some seconds is that of the apply before", args: "",
			cluster: append(sameState(3, service(2, 2, "False", "RevisionNameTaken", "of the apply before", allV1...)), service(2, 2, "True", "", "", allV1...)),
			answers: answers{from("v1")},
			stdout:  "Welcome to the v1 app! \n",
		},
		{
			name: "and the tag latest has the latest revision", script: "latest-run-test.sh",
			cluster: []object{
				lingering(service(3, 3, "True", "", "", split5050...), target{"v1", "v1", 50}, target{"v2", "v2", 50}, target{"v2", "latest", 0}),
				service(3, 3, "True", "", "", split5050...),
			},
			answers: answers{from("v3")}, host: "latest-" + routeHost,
			stdout: "Welcome to the v3 app! \n",
		},
		{
			name: "a Service that is edited meanwhile is not judged", args: "2",
			cluster: []object{readyService(allV1...), service(2, 1, "Unknown", "", "", split5050...)},
			answers: answers{from("v1"), from("v2")},
			code:    1,
			stdout: "2" + to +
				`REVISION                  TAG  EXPECTED  OBSERVED  COUNT
stock-service-example-v1           100%     50.0%      1  #####
stock-service-example-v2             0%     50.0%      1  #####
`,
			stderr: "the Service has changed: the shares are not judged\n",
		},
		{
			name: "nor one that is deleted", args: "2",
			cluster: []object{readyService(allV1...), nil},
			answers: answers{from("v1")},
			code:    1,
			stdout: "2" + to +
				`REVISION                  TAG  EXPECTED  OBSERVED  COUNT
stock-service-example-v1           100%    100.0%      2  ##########
`,
			stderr: "the Service has changed: the shares are not judged\n",
		},
		{
			name: "but one that kubectl does not get for a moment", args: "50", env: []string{"RATE=20"},
			cluster: []object{readyService(allV1...), nil, readyService(allV1...)},
			answers: answers{from("v1")},
			stdout:  "50" + to + onlyV1(50),
		},

		{
			name: "no traffic at all", env: []string{"WAIT=0"},
			cluster: []object{readyService()},
			code:    2,
			stderr:  "Service stock-service-example in namespace default is not Ready after … s: its traffic is , its spec asks for \n",
		},
		{
			name: "no such tag", script: "latest-run-test.sh",
			cluster: []object{readyService(allV1...)},
			code:    2,
			stderr:  "Service stock-service-example in namespace default has no tag latest: apply a file that gives it one\n",
		},
		{
			name: "a tag with DOMAIN_NAME", script: "latest-run-test.sh", args: "4", env: []string{"DOMAIN_NAME=localhost"},
			code:   2,
			stderr: "set DOMAIN_NAME to the tag's host (rehearsed: latest.localhost), without --tag\n",
		},
		{
			name: "no such Service", env: []string{"SVC_NAME=nope"},
			code:   2,
			stderr: `kubectl cannot get Service nope in namespace default: Error from server (NotFound): services.serving.knative.dev "nope" not found` + "\n",
		},
		{
			name: "a revision that cannot start while the route serves", args: "10", env: []string{"WAIT=1"},
			cluster: []object{created("v3", service(2, 2, "Unknown", "", "", pinned...))},
			pods:    []object{waitingPod("ImagePullBackOff", "Back-off pulling image")},
			answers: answers{from("v1"), from("v2")},
			code:    1,
			stdout:  "10" + to + split10,
			stderr:  "what was applied is not in force: stock-service-example-v3 is not ready: ImagePullBackOff Back-off pulling image\n",
		},
		{
			name: "a Service whose conditions are null", args: "10", env: []string{"WAIT=0"},
			cluster: []object{created("v3", without("conditions", readyService(pinned...)))},
			answers: answers{from("v1"), from("v2")},
			code:    1,
			stdout:  "10" + to + split10,
			stderr:  "what was applied is not in force: stock-service-example-v3 is not ready\n",
		},
		{
			name: "a Service that fails for good is not waited for", args: "10",
			cluster: []object{created("v3", service(2, 2, "False", "RevisionFailed", "Revision \"stock-service-example-v3\" failed: a | b\nexit 1", pinned...))},
			answers: answers{from("v1"), from("v2")},
			code:    1,
			stdout:  "10" + to + split10,
			stderr: "waiting for Service stock-service-example in namespace default: RevisionFailed: Revision \"stock-service-example-v3\" failed: a   b exit 1\n" +
				"what was applied is not in force: RevisionFailed: Revision \"stock-service-example-v3\" failed: a   b exit 1\n",
		},
		{
			name: "a Service that never had traffic", env: []string{"WAIT=1"},
			cluster: []object{created("v3", without("url", service(1, 1, "Unknown", "", "")))},
			pods:    []object{waitingPod("CrashLoopBackOff", "back-off 10s")},
			code:    2,
			stderr:  "Service stock-service-example in namespace default is not Ready after … s: stock-service-example-v3 is not ready: CrashLoopBackOff back-off 10s\n",
		},
		{
			name: "a tag whose revision is not the one that the spec asks for", script: "latest-run-test.sh", args: "4", env: []string{"WAIT=1"},
			cluster: []object{created("v4", lingering(service(2, 2, "Unknown", "", "", target{"v3", "v3", 100}, target{"v4", "latest", 0}), target{"v3", "v3", 100}, target{"v3", "latest", 0}))},
			pods:    []object{},
			answers: answers{from("v3")}, host: "latest-" + routeHost,
			code: 1,
			stdout: "4" + toLatest +
				`REVISION                  TAG     EXPECTED  OBSERVED  COUNT
stock-service-example-v3  latest      100%    100.0%      4  ##########
`,
			stderr: "what was applied is not in force: stock-service-example-v4 is not ready\n",
		},
		{
			name: "and none of the shares' traffic is the spec's", args: "1", env: []string{"WAIT=1"},
			cluster: []object{lingering(readyService(split5050...), allV1...)},
			answers: answers{from("v1")},
			code:    1,
			stdout:  "Welcome to the v1 app! \n",
			stderr:  "what was applied is not in force: its traffic is stock-service-example-v1,,100 , its spec asks for stock-service-example-v1,v1,50 stock-service-example-v2,v2,50 stock-service-example-v3,latest,0 \n",
		},
		{
			name: "a gradual rollout is shown, and not judged", args: "10",
			cluster: []object{rollout(target{"v1", "", 91}, target{"v2", "", 9})},
			answers: answers{from("v2")},
			code:    1,
			stdout: "10" + to +
				`REVISION                  TAG  EXPECTED  OBSERVED  COUNT
stock-service-example-v1            91%      0.0%      0
stock-service-example-v2             9%    100.0%     10  ##########
`,
			stderr: "a gradual rollout is in progress: the shares are not judged\n",
		},
		{
			name: "its failures are told", args: "10",
			cluster: []object{rollout(target{"v1", "", 91}, target{"v2", "", 9})},
			answers: append(times(9, from("v1")), from("v2").with(500)),
			code:    1,
			stdout: "10" + to +
				`REVISION                  TAG  EXPECTED  OBSERVED  COUNT  FAILED
stock-service-example-v1            91%     90.0%      9       0  #########
stock-service-example-v2             9%     10.0%      1       1  #
`,
			stderr: `1 of 10 requests failed: status 500 from stock-service-example-v2
a gradual rollout is in progress: the shares are not judged
`,
		},
		{
			name: "and of the tag latest, too", script: "latest-run-test.sh", args: "10",
			cluster: []object{rollout(target{"v1", "latest", 99}, target{"v2", "latest", 1})},
			answers: answers{from("v1")}, host: "latest-" + routeHost,
			code: 1,
			stdout: "10" + toLatest +
				`REVISION                  TAG     EXPECTED  OBSERVED  COUNT
stock-service-example-v1  latest       99%    100.0%     10  ##########
stock-service-example-v2  latest        1%      0.0%      0
`,
			stderr: "a gradual rollout is in progress: the shares are not judged\n",
		},
	})
}

func TestScriptsFindRoute(t *testing.T) {
	runCases(t, []scriptCase{

		{
			name: "GATEWAY may be a URL", env: []string{"GATEWAY=http://GATEWAY/"},
			cluster: []object{readyService(split5050...)},
			answers: answers{from("v1")},
			stdout:  "Welcome to the v1 app! \n",
		},

		{
			name: "names that others export do not matter", env: []string{"HOST=x", "TAG=v2", "COLUMNS=9", "http_proxy=http://127.0.0.1:1", "all_proxy=http://127.0.0.1:1", "CURL_HOME=/"},
			cluster: []object{readyService(split5050...)},
			answers: answers{from("v1")},
			stdout:  "Welcome to the v1 app! \n",
		},
		{
			name: "http of a route of https, where TLS ends before the gateway", args: "2", env: []string{"GATEWAY=http://GATEWAY"},
			cluster: []object{secured(readyService(allV1...))},
			answers: answers{from("v1")},
			stdout:  "2" + to + onlyV1(2),
		},
		{
			name: "https asked of a plain port", args: "2", env: []string{"GATEWAY=https://GATEWAY"},
			cluster: []object{readyService(allV1...)},
			answers: answers{from("v1")},
			code:    1,
			stdout: "2" + toHTTPS +
				`REVISION                  TAG  EXPECTED  OBSERVED  COUNT  FAILED
stock-service-example-v1           100%      0.0%      0       0
`,
			stderr: `2 of 2 requests failed: no answer (error:0A00010B:SSL routines::wrong version number)
set GATEWAY to an address of the gateway, with http:// where it takes no https
`,
		},
		{
			name: "a route without an address outside the cluster", args: "2",
			cluster: []object{at("http://stock-service-example.default.svc.cluster.local", readyService(allV1...))},
			code:    2,
			stderr:  "http://stock-service-example.default.svc.cluster.local is of the cluster alone: set Knative's config-domain or the visibility\n",
		},
		{
			name: "which DOMAIN_NAME gives", env: []string{"DOMAIN_NAME=stocks.example.org"},
			cluster: []object{at("http://stock-service-example.default.svc.cluster.local", readyService(allV1...))},
			answers: answers{from("v1")}, host: "stocks.example.org",
			stdout: "Welcome to the v1 app! \n",
		},
	})
}

// sameState is a state that is seen n times.
func sameState(n int, state object) (states []object) {
	for range n {
		states = append(states, state)
	}
	return states
}
