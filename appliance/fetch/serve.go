package fetch

import (
	"errors"
	"io"
	"net/http"
	"strconv"

	"masthead/images"
)

// Handler gives other heads what lies here; local must ask nobody. It does not verify: who asks does.
// The digest is the path's last part, "{digest}" of http.ServeMux.
func Handler(local images.BlobReader) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		d, err := images.ParseDigest(r.PathValue("digest"))
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		body, size, err := local.Open(d)
		if errors.Is(err, images.ErrNotFound) {
			http.Error(w, "no blob "+string(d), http.StatusNotFound)
			return
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		defer body.Close()
		w.Header().Set("Content-Type", "application/octet-stream")
		w.Header().Set("Content-Length", strconv.FormatInt(size, 10))
		if r.Method == http.MethodHead {
			return
		}
		if n, err := io.Copy(w, io.LimitReader(body, size)); err != nil || n < size {
			panic(http.ErrAbortHandler) // so that it is not taken for the whole
		}
	})
}
