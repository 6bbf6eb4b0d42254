package test

import (
	"os/exec"
	"testing"
	"time"
)

const (
	half  = "v1,v1,50 v2,v2,50 @latest,latest,0"
	all   = "v1,,100"
	only1 = `REVISION  TAG  EXPECTED  OBSERVED  COUNT
v1                 100%    100.0% …  ##########

ok: no request failed, and each share fits its percentage
`
	halves = `REVISION  TAG     EXPECTED  OBSERVED  COUNT
v1        v1           50%     50.0%     10  #####
v2        v2           50%     50.0%     10  #####
v3        latest        0%      0.0%      0

ok: no request failed, and each share fits its percentage: 10% to 90% passes for 50%
`
)

// What the scripts show, and whose answers they take them for.
var shows = []run{
	{
		name: "one request prints its answer, to the byte", cluster: serving(ksvc{spec: half}),
		answers: answers{{status: 200, revision: "v1", text: "\n\na|b \\n"}}, out: "\n\na|b \\n",
	},
	{
		name: "N requests show the split", args: "20", cluster: serving(ksvc{spec: half}), answers: answers{from("v1"), from("v2")}, out: halves,
	},
	{
		name: "at a tag one revision has all", script: "latest-run-test.sh", args: "20", cluster: serving(ksvc{spec: half}),
		answers: answers{from("v3")}, host: "latest-" + routeHost,
		out: `REVISION  TAG     EXPECTED  OBSERVED  COUNT
v3        latest      100%    100.0%     20  ##########

ok: no request failed, and each share fits its percentage
`,
	},
}

func TestScriptsShow(t *testing.T) { check(t, shows) }

func TestKubectlItself(t *testing.T) {
	path, err := exec.LookPath("kubectl")
	if err != nil {
		t.Skip("kubectl is not installed")
	}
	for _, r := range shows {
		if got := r.start(t, kubectl{"kubectl", path}); got.code != r.code || !like(r.out, got.stdout) || got.stderr != "" {
			t.Errorf("%s: got\n%v\nwant\n%s", r.name, got, r.out)
		}
	}
	_ = time.Second
}
