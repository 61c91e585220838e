package appliance

import (
	"crypto/sha256"
	_ "embed"
	"fmt"
	"io"
	"net/http"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"time"

	"masthead/images"
	"masthead/node/wire"
)

//go:embed heads_install.sh
var installScript string

// ownBinary is the program that runs, also after its file was replaced.
const ownBinary = "/proc/self/exe"

// program is this program as it is given to machines that shall become heads.
type program struct {
	once   sync.Once
	digest images.Digest
	size   int64
	err    error
}

// sum reads the program once: it does not change while it runs.
func (b *program) sum() (images.Digest, int64, error) {
	b.once.Do(func() {
		f, err := os.Open(ownBinary)
		if err != nil {
			b.err = err
			return
		}
		defer f.Close()
		hash := sha256.New()
		if b.size, b.err = io.Copy(hash, f); b.err == nil {
			b.digest = images.DigestFromSum(hash.Sum(nil))
		}
	})
	return b.digest, b.size, b.err
}

// serveBinary gives this program away. It is no secret.
func (h *Head) serveBinary(w http.ResponseWriter, r *http.Request) {
	f, err := os.Open(ownBinary)
	if err != nil {
		writeProblem(w, fmt.Errorf("read this program: %w", err))
		return
	}
	defer f.Close()
	w.Header().Set("Content-Type", "application/octet-stream")
	http.ServeContent(w, r, "masthead", time.Time{}, f)
}

// withInstall serves the installation script on the plain port, beside what firmware gets there.
func (h *Head) withInstall(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != wire.PlainInstall {
			next.ServeHTTP(w, r)
			return
		}
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			w.Header().Set("Allow", "GET, HEAD")
			http.Error(w, "GET only", http.StatusMethodNotAllowed)
			return
		}
		script, err := h.installScript()
		if err != nil {
			// To a shell: it must not run half of anything, and must say why.
			script = []byte("echo 'error: " + strings.ReplaceAll(err.Error(), "'", "") + "' >&2\nexit 1\n")
		}
		w.Header().Set("Content-Type", "text/x-shellscript; charset=utf-8")
		w.Header().Set("Cache-Control", "no-store")
		_, _ = w.Write(script)
	})
}

// machines are the kernel's names (uname -m) of the architectures that masthead is built for.
var machines = map[string]string{"amd64": "x86_64", "arm64": "aarch64"}

func (h *Head) installScript() ([]byte, error) {
	if !h.cfg.Address.IsValid() {
		return nil, fmt.Errorf("head %s has no address on a cluster network", h.cfg.Name)
	}
	digest, size, err := h.program.sum()
	if err != nil {
		return nil, fmt.Errorf("read this program: %w", err)
	}
	// No text/template: it calls methods by their names, for which the linker keeps every method of every package (20 MB).
	return []byte(strings.NewReplacer(
		"{{head}}", h.cfg.Name, "{{url}}", h.url(), "{{host}}", h.cfg.Address.Addr().String(),
		"{{plain}}", plainURL(h.cfg.Address.Addr(), h.cfg.HTTP)+wire.PlainInstall,
		"{{ca}}", string(h.authority.Digest()), "{{pem}}", strings.TrimSpace(string(h.authority.PEM())),
		"{{sha256}}", digest.Hex(), "{{size}}", strconv.FormatInt(size, 10), "{{path}}", wire.PathInstall,
		"{{version}}", h.cfg.Version, "{{machine}}", machines[runtime.GOARCH],
	).Replace(installScript)), nil
}
