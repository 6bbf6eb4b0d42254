package test

import (
	"testing"
)

// What the scripts show, and whose answers they take them for.
func TestScriptsShow(t *testing.T) {
	runCases(t, []scriptCase{
		{
			name:    "one request prints its answer",
			cluster: []object{readyService(split5050...)},
			answers: answers{from("v1")},
			stdout:  "Welcome to the v1 app! \n",
		},
		{
			name:    "to the byte",
			cluster: []object{readyService(split5050...)},
			answers: answers{{status: 200, revision: "stock-service-example-v1", text: "\n\na|b \\n"}},
			stdout:  "\n\na|b \\n",
		},
		{
			name: "N requests show the split", args: "100",
			cluster: []object{readyService(split5050...)},
			answers: answers{from("v1"), from("v2")},
			stdout: "100" + to +
				`REVISION                  TAG     EXPECTED  OBSERVED  COUNT
stock-service-example-v1  v1           50%     50.0%     50  #####
stock-service-example-v2  v2           50%     50.0%     50  #####
stock-service-example-v3  latest        0%      0.0%      0

ok: no request failed, and each share fits its percentage
with 100 requests, 30.0% to 70.0% pass for 50%, and failures of one in 22 show 99 times in 100
`,
		},
		{
			name: "a revision at two tags has the sum of their percents", args: "10",
			cluster: []object{readyService(split433...)},
			answers: answers{from("v1"), from("v2"), from("v3"), from("v1"), from("v2"), from("v3"), from("v1"), from("v2"), from("v3"), from("v1")},
			stdout: "10" + to +
				`REVISION                  TAG        EXPECTED  OBSERVED  COUNT
stock-service-example-v1  v1              40%     40.0%      4  ####
stock-service-example-v2  v2              30%     30.0%      3  ###
stock-service-example-v3  v3,latest       30%     30.0%      3  ###

ok: no request failed, and each share fits its percentage
with 10 requests, 0.0% to 100.0% pass for 40%, and 0.0% to 90.0% pass for 30%, and failures of one in 2 show 99 times in 100
`,
		},
		{
			name: "pods have a column where answers name them", args: "4",
			cluster: []object{readyService(split5050...)},
			answers: answers{from("v1").saying("X-Pod: a"), from("v2").saying("X-Pod: b"), from("v2").saying("X-Pod: c"), from("v1").saying("X-Pod: a")},
			stdout: "4" + to +
				`REVISION                  TAG     EXPECTED  OBSERVED  COUNT  PODS
stock-service-example-v1  v1           50%     50.0%      2     1  #####
stock-service-example-v2  v2           50%     50.0%      2     2  #####
stock-service-example-v3  latest        0%      0.0%      0     0

ok: no request failed, and each share fits its percentage
with 4 requests, 0.0% to 100.0% pass for 50%, and failures of one in 1 show 99 times in 100
`,
		},
		{
			name: "at a tag one revision has all", script: "latest-run-test.sh", args: "20",
			cluster: []object{readyService(split5050...)},
			answers: answers{from("v3")}, host: "latest-" + routeHost,
			stdout: "20" + toLatest +
				`REVISION                  TAG     EXPECTED  OBSERVED  COUNT
stock-service-example-v3  latest      100%    100.0%     20  ##########

ok: no request failed, and each share fits its percentage
with 20 requests, failures of one in 4 show 99 times in 100
`,
		},
		{
			name: "any tag, any path", args: "--tag v2 --path /stock/AAPL?x=1",
			cluster: []object{readyService(split5050...)},
			answers: answers{from("v2")}, host: "v2-" + routeHost,
			stdout: "Welcome to the v2 app! \n",
		},
		{
			name: "without a cluster there is nothing to expect", args: "4", env: []string{"DOMAIN_NAME=localhost"},
			answers: answers{from("v2"), from("v1"), from("v3"), from("v1")}, host: "localhost",
			stdout: "4" + toLocal +
				`REVISION  OBSERVED  COUNT
v2           25.0%      1  ###
v1           50.0%      2  #####
v3           25.0%      1  ###

ok: no request failed; no percentages were given
with 4 requests, failures of one in 1 show 99 times in 100
`,
		},
		{
			name: "but for the percentages that EXPECT gives, by names as in the rehearsal", args: "10", env: []string{"DOMAIN_NAME=localhost", "EXPECT=v1=40,v2=30,v3=30"},
			answers: answers{{status: 200, revision: "v1"}, {status: 200, revision: "v2"}, {status: 200, revision: "v3"}}, host: "localhost",
			stdout: "10" + toLocal +
				`REVISION  EXPECTED  OBSERVED  COUNT
v1             40%     40.0%      4  ####
v2             30%     30.0%      3  ###
v3             30%     30.0%      3  ###

ok: no request failed, and each share fits its percentage
with 10 requests, 0.0% to 100.0% pass for 40%, and 0.0% to 90.0% pass for 30%, and failures of one in 2 show 99 times in 100
`,
		},
		{
			name: "or by whole names", args: "20", env: []string{"DOMAIN_NAME=localhost", "EXPECT=stock-service-example-v1=100"},
			answers: answers{from("v1"), from("v2")}, host: "localhost",
			code: 1,
			stdout: "20" + toLocal +
				`REVISION  EXPECTED  OBSERVED  COUNT
v1            100%     50.0%     10  #####
v2              0%     50.0%     10  #####
`,
			stderr: `v1 got 10 of 20, and chance explains 20 to 20 for 100%
v2 got 10 of 20, and chance explains 0 to 0 for 0%
`,
		},
		{
			name: "which add up to 100", args: "4", env: []string{"DOMAIN_NAME=localhost", "EXPECT=v1=50,v2=40"},
			answers: answers{from("v1"), from("v2")}, host: "localhost",
			code: 1,
			stdout: "4" + toLocal +
				`REVISION  EXPECTED  OBSERVED  COUNT
v1             50%     50.0%      2  #####
v2             40%     50.0%      2  #####
`,
			stderr: "the percentages of EXPECT add up to 90\n",
		}, {
			name: "and are percentages", args: "4", env: []string{"DOMAIN_NAME=localhost", "EXPECT=v1=-10,v2=110"},
			answers: answers{from("v1"), from("v2")}, host: "localhost",
			code: 1,
			stdout: "4" + toLocal +
				`REVISION  EXPECTED  OBSERVED  COUNT
v1            -10%     50.0%      2  #####
v2            110%     50.0%      2  #####
`,
			stderr: `v1 got 2 of 4, and chance explains … to … for -10%
v2 got 2 of 4, and chance explains … to … for 110%
`,
		},
		{
			name: "in the form v1=40,v2=60", args: "4", env: []string{"DOMAIN_NAME=localhost", "EXPECT=v1:50,v2:50"},
			answers: answers{from("v1"), from("v2")}, host: "localhost",
			code: 1,
			stdout: "4" + toLocal +
				`REVISION  EXPECTED  OBSERVED  COUNT
v1:50           0%      0.0%      0
v2:50           0%      0.0%      0
v1              0%     50.0%      2  #####
v2              0%     50.0%      2  #####
`,
			stderr: "the percentages of EXPECT add up to 0\n",
		},
	})
}

func TestScriptsNameRevisions(t *testing.T) {
	runCases(t, []scriptCase{
		{
			name: "answers of no revision are told", args: "3",
			cluster: []object{readyService(allV1...)},
			answers: answers{from("v1"), {status: 200, text: "<html>a login page</html>"}, {status: 200, text: "between v1 and v1"}},
			code:    1,
			stdout: "3" + to +
				`REVISION                  TAG  EXPECTED  OBSERVED  COUNT
stock-service-example-v1           100%     33.3%      1  ###
`,
			stderr: "2 of 3 answers name no revision in the header X-Revision\n",
		},
		{
			name:    "an empty header names none, either",
			cluster: []object{readyService(allV1...)},
			answers: answers{{status: 200, header: "X-Revision: ", text: "Welcome to the v1 app! \n"}},
			code:    1,
			stdout:  "Welcome to the v1 app! \n",
			stderr:  "1 of 1 answers name no revision in the header X-Revision\n",
		},
		{
			name: "an empty header names no pod, either", args: "2",
			cluster: []object{readyService(allV1...)},
			answers: answers{from("v1").saying("X-Pod: ")},
			stdout: "2" + to +
				`REVISION                  TAG  EXPECTED  OBSERVED  COUNT
stock-service-example-v1           100%    100.0%      2  ##########

ok: no request failed, and each share fits its percentage
with 2 requests, failures of one in 1 show 99 times in 100
`,
		},
		{
			name: "nor a rehearsal", args: "",
			cluster: []object{readyService(allV1...)},
			answers: answers{from("v1").saying("X-Rehearsal: ")},
			stdout:  "Welcome to the v1 app! \n",
		},
		{
			name: "a revision outside the traffic expects 0%", args: "100",
			cluster: []object{readyService(split5050...)},
			answers: append(times(49, from("v1"), from("v2")), from("v3"), from("v9")),
			code:    1,
			stdout: "100" + to +
				`REVISION                  TAG     EXPECTED  OBSERVED  COUNT
stock-service-example-v1  v1           50%     49.0%     49  #####
stock-service-example-v2  v2           50%     49.0%     49  #####
stock-service-example-v3  latest        0%      1.0%      1
stock-service-example-v9                0%      1.0%      1
`,
			stderr: `stock-service-example-v3 got 1 of 100, and chance explains 0 to 0 for 0%
stock-service-example-v9 got 1 of 100, and chance explains 0 to 0 for 0%
`,
		},
		{
			name: "another revision at a tag", script: "latest-run-test.sh",
			cluster: []object{readyService(split5050...)},
			answers: answers{from("v1")}, host: "latest-" + routeHost,
			code:   1,
			stdout: "Welcome to the v1 app! \n",
			stderr: `stock-service-example-v3 got 0 of 1, and chance explains 1 to 1 for 100%
stock-service-example-v1 got 1 of 1, and chance explains 0 to 0 for 0%
`,
		},
		{
			name: "no answer can draw on the terminal", args: "2",
			cluster: []object{readyService(allV1...)},
			answers: answers{from("v1"), from("v\a2")},
			code:    1,
			stdout: "2" + to +
				`REVISION                   TAG  EXPECTED  OBSERVED  COUNT
stock-service-example-v1            100%     50.0%      1  #####
stock-service-example-v?2             0%     50.0%      1  #####
`,
			stderr: `stock-service-example-v1 got 1 of 2, and chance explains 2 to 2 for 100%
stock-service-example-v?2 got 1 of 2, and chance explains 0 to 0 for 0%
`,
		},
		{
			name: "a rehearsal is not the cluster", args: "2",
			cluster: []object{readyService(allV1...)},
			answers: answers{from("v1").saying("X-Rehearsal: v1=100"), from("v2").saying("X-Rehearsal: v1=100")},
			code:    1,
			stdout: "2" + to +
				`REVISION                  TAG  EXPECTED  OBSERVED  COUNT
stock-service-example-v1           100%     50.0%      1  #####
stock-service-example-v2             0%     50.0%      1  #####
`,
			stderr: `2 of 2 answers came from a rehearsal, not from the cluster: set GATEWAY
stock-service-example-v1 got 1 of 2, and chance explains 2 to 2 for 100%
stock-service-example-v2 got 1 of 2, and chance explains 0 to 0 for 0%
`,
		},
		{
			name: "another header may name it", args: "2", env: []string{"REVISION_HEADER=K-Revision"},
			cluster: []object{readyService(allV1...)},
			answers: answers{from("v9").saying("k-revision: stock-service-example-v1")},
			stdout:  "2" + to + onlyV1(2),
		},
		{
			name: "a header's name has any case, and its value any space around it", args: "2",
			cluster: []object{readyService(allV1...)},
			answers: answers{{raw: "HTTP/1.1 200 OK\r\nx-REVISION:stock-service-example-v1 \t\r\n\r\n"}},
			stdout:  "2" + to + onlyV1(2),
		},
		{
			name: "the last of two is it, and the final answer's, not that of one before it", args: "2",
			cluster: []object{readyService(allV1...)},
			answers: answers{{raw: "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nX-Revision: v9\r\nX-Revision: stock-service-example-v1\r\n\r\n"}},
			stdout:  "2" + to + onlyV1(2),
		},
		{
			name: "headers do not pass for records", args: "2",
			cluster: []object{readyService(allV1...)},
			answers: answers{{raw: "HTTP/1.1 200 a|0|200|0|0|\r\nX-Revision: stock-service-example-v1\r\nX: answer 1|0|200|0|0|\r\nanswer 12|0|200|0|0|: x\r\n\r\n"}},
			stdout:  "2" + to + onlyV1(2),
		},
		{
			name: "a | and control characters in a name", args: "2",
			cluster: []object{readyService(allV1...)},
			answers: answers{{raw: "HTTP/1.1 200 OK\r\nX-Revision: a|b,c %s\x1b[2J\x07\r\n\r\n"}},
			code:    1,
			stdout: "2" + to +
				`REVISION                  TAG  EXPECTED  OBSERVED  COUNT
stock-service-example-v1           100%      0.0%      0
a|b,c %s?[2J?                        0%    100.0%      2  ##########
`,
			stderr: `stock-service-example-v1 got 0 of 2, and chance explains 2 to 2 for 100%
a|b,c %s?[2J? got 2 of 2, and chance explains 0 to 0 for 0%
`,
		},
	})
}

// The two outermost counts that pass.
func TestScriptsExplainChance(t *testing.T) {
	runCases(t, []scriptCase{
		{
			name: "30 of 100 for 50% is chance", args: "100",
			cluster: []object{readyService(split5050...)},
			answers: append(times(30, from("v2")), times(70, from("v1"))...),
			stdout: "100" + to +
				`REVISION                  TAG     EXPECTED  OBSERVED  COUNT
stock-service-example-v1  v1           50%     70.0%     70  #######
stock-service-example-v2  v2           50%     30.0%     30  ###
stock-service-example-v3  latest        0%      0.0%      0

ok: no request failed, and each share fits its percentage
with 100 requests, 30.0% to 70.0% pass for 50%, and failures of one in 22 show 99 times in 100
`,
		},
		{
			name: "29 is not", args: "100",
			cluster: []object{readyService(split5050...)},
			answers: append(times(29, from("v2")), times(71, from("v1"))...),
			code:    1,
			stdout: "100" + to +
				`REVISION                  TAG     EXPECTED  OBSERVED  COUNT
stock-service-example-v1  v1           50%     71.0%     71  #######
stock-service-example-v2  v2           50%     29.0%     29  ###
stock-service-example-v3  latest        0%      0.0%      0
`,
			stderr: `stock-service-example-v1 got 71 of 100, and chance explains 30 to 70 for 50%
stock-service-example-v2 got 29 of 100, and chance explains 30 to 70 for 50%
`,
		},
		{
			name: "percents are as in the file, of which binary fractions differ", args: "2",
			cluster: []object{readyService(target{"v1", "", 29}, target{"v2", "", 71})},
			answers: answers{from("v1"), from("v2")},
			stdout: "2" + to +
				`REVISION                  TAG  EXPECTED  OBSERVED  COUNT
stock-service-example-v1            29%     50.0%      1  #####
stock-service-example-v2            71%     50.0%      1  #####

ok: no request failed, and each share fits its percentage
with 2 requests, 0.0% to 100.0% pass for 29%, and 0.0% to 100.0% pass for 71%, and failures of one in 1 show 99 times in 100
`,
		},
	})
}
