package cluster

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// bigImage is an archive with Debian and more than 1 GiB of data.
type bigImage struct {
	archive   string
	last, sum string // one of its files and its SHA-256, in hexadecimal digits
}

// Data of the big image: enough files of enough bytes for more than 1 GiB.
const (
	bigFiles    = 17
	bigFileSize = 64 << 20
)

// bigRoot lays data over the Debian tree of the shipped worker with curl in it. The archive stays in the cache.
func bigRoot(t *testing.T) bigImage {
	t.Helper()
	mustRun(t, "image", "build", workerWithCurl(t)) // bootstraps, if nobody has yet
	debian := archiveWithCurl(t, cacheFolder(t))
	big := bigImage{last: fmt.Sprintf("/srv/data/%02d", bigFiles-1)}
	sum := sha256.New()
	_, err := io.Copy(sum, bigFile(bigFiles-1))
	must(t, err)
	big.sum = hex.EncodeToString(sum.Sum(nil))
	key := sha256.Sum256(fmt.Appendf(nil, "%s %d %d %s", filepath.Base(debian), bigFiles, bigFileSize, big.sum))
	big.archive = filepath.Join(cacheFolder(t), "vmtest", fmt.Sprintf("big-%x.tar", key[:8]))
	if _, err := os.Stat(big.archive); err == nil {
		return big
	}
	old, err := filepath.Glob(filepath.Join(filepath.Dir(big.archive), "big-*.tar"))
	must(t, err)
	for _, f := range old {
		must(t, os.Remove(f))
	}
	must(t, os.MkdirAll(filepath.Dir(big.archive), 0o755))
	part := big.archive + ".part"
	must(t, writeBig(debian, part))
	must(t, os.Rename(part, big.archive))
	return big
}

// workerWithCurl is the shipped worker's definition with what an administrator would install a head by.
func workerWithCurl(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(definition(t, "worker"))
	must(t, err)
	with := strings.Replace(string(text), "      - less\n", "      - less\n      - curl\n", 1)
	with = strings.Replace(with, "name: worker\n", "name: worker-curl\n", 1)
	if strings.Count(with, "curl") != 2 {
		t.Fatalf("the worker's definition is not what this test expects:\n%s", text)
	}
	file := filepath.Join(t.TempDir(), "worker-curl.yaml")
	must(t, os.WriteFile(file, []byte(with), 0o644))
	return file
}

// archiveWithCurl is the smallest Debian archive in the cache that has curl in it: those of other tests have a database
// besides, for which a small machine has no memory.
func archiveWithCurl(t *testing.T, cache string) string {
	t.Helper()
	var smallest string
	var size int64
	for _, pattern := range []string{"debian/*.tar", "debian/debian/*.tar"} {
		files, err := filepath.Glob(filepath.Join(cache, pattern))
		must(t, err)
		for _, f := range files {
			info, err := os.Stat(f)
			must(t, err)
			if (smallest == "" || info.Size() < size) && hasFile(t, f, "usr/bin/curl") {
				smallest, size = f, info.Size()
			}
		}
	}
	if smallest == "" {
		t.Fatalf("no Debian archive with curl in %s", cache)
	}
	return smallest
}

func hasFile(t *testing.T, archive, name string) bool {
	t.Helper()
	f, err := os.Open(archive)
	must(t, err)
	defer f.Close()
	for r := tar.NewReader(f); ; {
		h, err := r.Next()
		if err == io.EOF {
			return false
		}
		must(t, err)
		if strings.TrimPrefix(h.Name, "./") == name {
			return true
		}
	}
}

// writeBig copies an archive and adds the data.
func writeBig(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.Create(to)
	if err != nil {
		return err
	}
	defer out.Close()
	w := tar.NewWriter(out)
	for r := tar.NewReader(in); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		if err := w.WriteHeader(h); err != nil {
			return err
		}
		if _, err := io.Copy(w, r); err != nil {
			return err
		}
	}
	if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: "./srv/data/", Mode: 0o755}); err != nil {
		return err
	}
	for n := range bigFiles {
		if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: fmt.Sprintf("./srv/data/%02d", n), Mode: 0o644, Size: bigFileSize}); err != nil {
			return err
		}
		if _, err := io.Copy(w, bigFile(n)); err != nil {
			return err
		}
	}
	return errors.Join(w.Close(), out.Close())
}

// bigFile is the content of a file of the big image: no block of it is like another, and all pack well, so that a build
// takes seconds.
func bigFile(n int) io.Reader {
	random := rand.New(rand.NewPCG(uint64(n), 1))
	var block [4096]byte
	for i := range 64 {
		block[i] = byte(random.Uint32())
	}
	for i := 64; i < len(block); i++ {
		block[i] = block[i-64] | 1 // never all zeros
	}
	i := uint64(0)
	blocks := make([]io.Reader, 0, bigFileSize/len(block))
	for range bigFileSize / len(block) {
		b := block
		binary.LittleEndian.PutUint64(b[:], i)
		binary.LittleEndian.PutUint64(b[8:], random.Uint64())
		blocks = append(blocks, bytes.NewReader(b[:]))
		i++
	}
	return io.MultiReader(blocks...)
}

// bigHead is the shipped head's definition that carries the big image besides the shipped worker.
func bigHead(t *testing.T, big bigImage) string {
	t.Helper()
	folder := t.TempDir()
	worker, err := os.ReadFile(definition(t, "worker"))
	must(t, err)
	_, rest, found := strings.Cut(string(worker), "\nkernel:")
	if !found {
		t.Fatalf("the shipped worker has no kernel:\n%s", worker)
	}
	must(t, os.WriteFile(filepath.Join(folder, "big.yaml"), []byte("name: big\nrole: worker\nroot:\n  tar: "+big.archive+"\nkernel:"+rest), 0o644))
	head, err := os.ReadFile(definition(t, "head"))
	must(t, err)
	text := strings.Replace(string(head), "  - worker.yaml\n", "  - "+definition(t, "worker")+"\n  - big.yaml\n", 1)
	path := filepath.Join(folder, "head.yaml")
	must(t, os.WriteFile(path, []byte(text), 0o644))
	return path
}
