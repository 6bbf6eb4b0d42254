package test

import (
	"testing"
	"time"
)

// What fails, and why.
func TestScriptsTellFailures(t *testing.T) {
	runCases(t, []scriptCase{
		{
			name: "a failing revision, and nothing else", args: "50",
			cluster: []object{readyService(split433...)},
			answers: times(5, from("v1"), from("v1"), from("v1"), from("v1"), from("v2"), from("v2"), from("v2"),
				from("v3").with(500), from("v3").with(500), from("v3").with(500)),
			code: 1,
			stdout: "50" + to +
				`REVISION                  TAG        EXPECTED  OBSERVED  COUNT  FAILED
stock-service-example-v1  v1              40%     40.0%     20       0  ####
stock-service-example-v2  v2              30%     30.0%     15       0  ###
stock-service-example-v3  v3,latest       30%     30.0%     15      15  ###
`,
			stderr: "15 of 50 requests failed: status 500 from stock-service-example-v3\n",
		},
		{
			name:    "one request that fails",
			cluster: []object{readyService(split5050...)},
			answers: answers{{status: 503, text: "no healthy upstream\n"}},
			code:    1,
			stdout:  "no healthy upstream\n",
			stderr:  "1 of 1 requests failed: status 503, which names no revision\n",
		},
		{
			name: "each cause is told once", args: "12",
			cluster: []object{readyService(allV1...)},
			answers: answers{
				from("v1").going(truncated), {status: 200, revision: "stock-service-example-v1", text: "longer than the other", way: truncated},
				from("v1").going(noAnswer), from("v1").going(reset), from("v1").going(noAnswer),
				from("v1").with(302), from("v1").with(404), {status: 301}, {status: 301}, {status: 404}, from("v1").with(204), from("v1").with(299),
			},
			code: 1,
			stdout: "12" + to +
				`REVISION                  TAG  EXPECTED  OBSERVED  COUNT  FAILED
stock-service-example-v1           100%     58.3%      7       5  ######
`,
			stderr: `2 of 12 requests failed: an answer cut short (transfer closed) from stock-service-example-v1
2 of 12 requests failed: no answer (Empty reply from server)
1 of 12 requests failed: an answer cut short (Recv failure: Connection reset by peer) from stock-service-example-v1
1 of 12 requests failed: status 302 from stock-service-example-v1
1 of 12 requests failed: status 404 from stock-service-example-v1
2 of 12 requests failed: status 301, which names no revision
1 of 12 requests failed: status 404, which names no revision
`,
		},
		{
			name: "a gateway that never answers", args: "5",
			cluster: []object{readyService(allV1...)},
			answers: answers{from("v1").going(noAnswer)},
			code:    1,
			stdout: "5" + to +
				`REVISION                  TAG  EXPECTED  OBSERVED  COUNT  FAILED
stock-service-example-v1           100%      0.0%      0       0
`,
			stderr: `5 of 5 requests failed: no answer (Empty reply from server)
set GATEWAY to an address of the gateway, with http:// where it takes no https
`,
		},
		{
			name: "a network that dies in the middle", args: "60", env: []string{"RATE=20"},
			cluster: []object{readyService(allV1...)},
			answers: append(times(5, from("v1")), times(100, from("v1").going(noAnswer))...),
			code:    1,
			stdout: "60" + to +
				`REVISION                  TAG  EXPECTED  OBSERVED  COUNT  FAILED
stock-service-example-v1           100%     …%      5       0  …
`,
			stderr: `gave up after … of 60 requests
… of … requests failed: no answer (Empty reply from server)
`,
		},
		{
			name: "504s that name no revision can be of any", args: "40",
			cluster: []object{readyService(split5050...)},
			answers: append(times(21, from("v1")), times(19, answer{status: 504})...),
			code:    1,
			stdout: "40" + to +
				`REVISION                  TAG     EXPECTED  OBSERVED  COUNT  FAILED
stock-service-example-v1  v1           50%     52.5%     21       0  #####
stock-service-example-v2  v2           50%      0.0%      0       0
stock-service-example-v3  latest        0%      0.0%      0       0
`,
			stderr: "19 of 40 requests failed: status 504, which names no revision\n",
		},
		{
			name: "but not of none", args: "40",
			cluster: []object{readyService(split5050...)},
			answers: append(times(38, from("v1")), times(2, answer{status: 504})...),
			code:    1,
			stdout: "40" + to +
				`REVISION                  TAG     EXPECTED  OBSERVED  COUNT  FAILED
stock-service-example-v1  v1           50%     95.0%     38       0  ##########
stock-service-example-v2  v2           50%      0.0%      0       0
stock-service-example-v3  latest        0%      0.0%      0       0
`,
			stderr: `2 of 40 requests failed: status 504, which names no revision
stock-service-example-v1 got 38 of 40, and chance explains 7 to 33 for 50%
stock-service-example-v2 got 0 of 40, and chance explains 7 to 33 for 50%
`,
		},
		{
			name: "an answer that took longer than WITHIN", args: "5", env: []string{"WITHIN=0.7"},
			cluster: []object{readyService(target{"v1", "", 80}, target{"v2", "", 20})},
			answers: append(times(4, from("v1")), from("v2").after(900*time.Millisecond)),
			code:    1,
			stdout: "5" + to +
				`REVISION                  TAG  EXPECTED  OBSERVED  COUNT  FAILED
stock-service-example-v1            80%     80.0%      4       0  ########
stock-service-example-v2            20%     20.0%      1       1  ##
`,
			stderr: "1 of 5 requests failed: took longer than 0.7 s from stock-service-example-v2\n",
		},

		{
			name: "something else than HTTP", args: "2",
			cluster: []object{readyService(allV1...)},
			answers: answers{{raw: "220 mail.example.com ESMTP\r\n"}},
			code:    1,
			stdout: "2" + to +
				`REVISION                  TAG  EXPECTED  OBSERVED  COUNT  FAILED
stock-service-example-v1           100%      0.0%      0       0
`,
			stderr: `2 of 2 requests failed: no answer (Received HTTP/0.9 when not allowed)
set GATEWAY to an address of the gateway, with http:// where it takes no https
`,
		},
	})
}
