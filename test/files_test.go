package test

import (
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/knative-sample/rest-api-go/internal/quote"
	"github.com/knative-sample/rest-api-go/internal/rehearsal"
	"github.com/knative-sample/rest-api-go/internal/stock"
)

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

// TestRehearsedFiles applies them in a rehearsal, as the e2e test does on a
// cluster.
func TestRehearsedFiles(t *testing.T) {
	split, err := rehearsal.ParseSplit("v1=100")
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(rehearsal.New(split, func(tag string) http.Handler {
		return stock.New(stock.Revision{Resource: tag, Name: rehearsal.RevisionName(tag)}, quote.Sample{})
	}, rand.IntN))
	defer server.Close()
	send := func(method, host, path, body string) string {
		request, err := http.NewRequest(method, server.URL+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		request.Host = host
		response, err := server.Client().Do(request)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		text, err := io.ReadAll(response.Body)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	for i, file := range appliedFiles {
		if got := send("PUT", "localhost", "/rehearsal", file.name); got != file.split+"\n" {
			t.Errorf("%d: after %s the traffic is %q, want %s", i, file.name, got, file.split)
		}
		if got := send("GET", "latest.localhost", "/", ""); got != "Welcome to the "+file.latest+" app! \n" {
			t.Errorf("%d: after %s the latest revision answers %q, want %s", i, file.name, got, file.latest)
		}
	}
}
