package rehearsal

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"

	"github.com/knative-sample/rest-api-go/internal/stock"
)

const (
	path    = "/rehearsal" // where the split is told and changed, at every host
	maxBody = 16 << 10     // bytes, more than the longest split has
)

// File is one of the files that are applied to a cluster.
type File struct {
	Name   string `json:"file"`
	Split  string `json:"split"`  // of the traffic once it is applied
	Latest string `json:"latest"` // tag of its template's revision
	Does   string `json:"does"`
}

// Files are those of the article, in its order.
var Files = []File{
	{"revision-v1.yaml", "v1=100", "v1", "v1 has all the traffic"},
	{"revision-v2.yaml", "v1=50,v2=50", "v2", "v2 gets half at once"},
	{"revision-v3.yaml", "v1=50,v2=50,v3=0", "v3", "v3 has its own address, but no traffic"},
	{"revision-v3-2.yaml", "v1=40,v2=30,v3=30", "v3", "v1\u00a040%, v2\u00a030%, v3\u00a030%"},
}

// tell answers with the split.
func (g *gateway) tell(w http.ResponseWriter, r *http.Request) {
	now := g.traffic.Load()
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Header().Set("Vary", "Accept")
	if stock.Preferred(r.Header, stock.Text, stock.JSON) == stock.JSON {
		w.Header().Set("Content-Type", stock.JSON)
		json.NewEncoder(w).Encode(map[string]any{"split": now.split.String(), "latest": now.latest, "service": service, "files": Files})
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	fmt.Fprintln(w, now.split)
}

// put changes the split to what the request's body says.
func (g *gateway) put(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err == nil {
		err = g.apply(strings.TrimSpace(string(body)))
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	g.tell(w, r)
}

// apply applies a file by its name, as kubectl does, or an edit of the percents.
// Where it returns an error, nothing has changed.
func (g *gateway) apply(change string) error {
	latest := ""
	if i := slices.IndexFunc(Files, func(f File) bool { return f.Name == change }); i >= 0 {
		change, latest = Files[i].Split, Files[i].Latest
	}
	if !strings.Contains(change, "=") {
		return fmt.Errorf("%.60q is neither percents, such as v1=50,v2=50, nor the name of a file, such as revision-v2.yaml", change)
	}
	split, err := ParseSplit(change)
	if err != nil {
		return err
	}
	return g.change(split, latest)
}
