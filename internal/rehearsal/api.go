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

// path is where the split is told and changed, at every host.
const path = "/rehearsal"

const maxBody = 16 << 10 // bytes, more than the longest split has

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

// serveSplit answers GET with the split, and PUT after changing it.
func (g *gateway) serveSplit(w http.ResponseWriter, r *http.Request) {
	switch r.Method {
	case http.MethodGet, http.MethodHead:
	case http.MethodPut:
		if err := g.origins.Check(r); err != nil {
			http.Error(w, err.Error(), http.StatusForbidden)
			return
		}
		if err := g.put(w, r); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
	default:
		w.Header().Set("Allow", "GET, HEAD, PUT")
		http.Error(w, "method "+r.Method+" not allowed, require GET, HEAD or PUT", http.StatusMethodNotAllowed)
		return
	}

	now := g.traffic.Load()
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Header().Set("Vary", "Accept")
	if stock.Preferred(r.Header, stock.Text, stock.JSON) == stock.JSON {
		w.Header().Set("Content-Type", stock.JSON)
		json.NewEncoder(w).Encode(struct {
			Split   string `json:"split"`
			Latest  string `json:"latest"`
			Service string `json:"service"`
			Files   []File `json:"files"`
		}{now.split.String(), now.latest, service, Files})
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	fmt.Fprintln(w, now.split)
}

// put applies the request's body, as kubectl does: a file by its name, or an
// edit of the percents. Where it returns an error, nothing has changed.
func (g *gateway) put(w http.ResponseWriter, r *http.Request) error {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		return fmt.Errorf("the change did not arrive whole: %w", err)
	}
	change, latest := strings.TrimSpace(string(body)), ""
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
