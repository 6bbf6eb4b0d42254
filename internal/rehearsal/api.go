package rehearsal

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/knative-sample/rest-api-go/internal/accept"
)

// path is where the split is told and changed, at every host.
const path = "/rehearsal"

// maxBody is more than the longest split has, in bytes.
const maxBody = 16 << 10

// File is one of the files that are applied to a cluster.
type File struct {
	Name string `json:"file"`
	// Split of the traffic once the file is applied.
	Split string `json:"split"`
	Does  string `json:"does"`
}

// Files are those of the article, in its order.
var Files = []File{
	{"revision-v1.yaml", "v1=100", "v1 has all the traffic"},
	{"revision-v2.yaml", "v1=50,v2=50", "v2 gets half at once"},
	{"revision-v3.yaml", "v1=50,v2=50,v3=0", "v3 has its own address, but no traffic"},
	{"revision-v3-2.yaml", "v1=40,v2=30,v3=30", "v3 gets its share"},
}

// state is the answer as JSON.
type state struct {
	Split  string `json:"split"`
	Latest string `json:"latest"`
	Files  []File `json:"files"`
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
		if status, err := g.put(w, r); err != nil {
			http.Error(w, err.Error(), status)
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
	if accept.Preferred(r.Header, accept.Text, accept.JSON) == accept.JSON {
		w.Header().Set("Content-Type", accept.JSON)
		json.NewEncoder(w).Encode(state{now.text, now.latest, Files})
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	fmt.Fprintln(w, now.text)
}

// put changes the split to the request's body. Its error comes with the status
// to answer with, and then nothing has changed.
func (g *gateway) put(w http.ResponseWriter, r *http.Request) (int, error) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return http.StatusRequestEntityTooLarge, fmt.Errorf("a split has at most %d bytes", maxBody)
	case err != nil:
		return http.StatusBadRequest, errors.New("the split did not arrive whole")
	}
	split, err := ParseSplit(string(body))
	if err == nil {
		err = g.change(split)
	}
	if err != nil {
		return http.StatusBadRequest, err
	}
	return http.StatusOK, nil
}
