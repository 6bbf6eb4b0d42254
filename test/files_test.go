package test

// appliedFiles are files in the order in which they are applied, in a rehearsal
// and on a cluster, with the traffic and the latest revision that each gives.
var appliedFiles = []struct{ name, split, latest string }{
	{"revision-v1.yaml", "v1=100", "v1"},
	{"revision-v2.yaml", "v1=50,v2=50", "v2"},
	{"revision-v3.yaml", "v1=50,v2=50,v3=0", "v3"},
	{"revision-v3-2.yaml", "v1=40,v2=30,v3=30", "v3"},
	{"revision-v2.yaml", "v1=50,v2=50", "v2"}, // rolls back, and v2 is the latest again
	{"revision-v3.yaml", "v1=50,v2=50,v3=0", "v3"},
	{"revision-v1.yaml", "v1=100", "v1"},
}
