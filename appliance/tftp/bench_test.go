package tftp

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"masthead/vmtest/prerequisite"

	pin "github.com/pin/tftp/v3"
)

const benchSize = 4 << 20

// BenchmarkTFTP fetches 4 MiB in blocks of 1428 bytes, what firmware asks for on Ethernet, from us and from each server
// that is installed, in turn and with one client. x_NAME is how many times faster than NAME we are.
func BenchmarkTFTP(b *testing.B) {
	dir, err := os.MkdirTemp("", "tftp") // not b.TempDir: the peers drop privileges and have to get in
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { os.RemoveAll(dir) })
	content := random(benchSize)
	if err := os.Chmod(dir, 0o755); err != nil {
		b.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "loader"), content, 0o644); err != nil {
		b.Fatal(err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { root.Close() })

	r := start(b, Config{Files: FromFS(root.FS())})
	peers := map[string]string{}
	for name, command := range map[string][]string{
		"dnsmasq": {"dnsmasq", "-C", "/dev/null", "-d", "--port=0", "--user=root", "--enable-tftp", "--tftp-root=" + dir, "--listen-address=127.0.0.77", "--bind-interfaces"},
		"tftpd":   {"in.tftpd", "-L", "-s", "-a", "127.0.0.78:69", dir},
	} {
		addr := map[string]string{"dnsmasq": "127.0.0.77:69", "tftpd": "127.0.0.78:69"}[name]
		if peerServer(b, addr, command) {
			peers[name] = addr
		}
	}

	spent := map[string]time.Duration{}
	b.SetBytes(benchSize)
	for b.Loop() {
		if err := fetch(r.addr.String(), content); err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		r.next(b)
		for name, addr := range peers {
			begin := time.Now()
			if err := fetch(addr, content); err != nil {
				b.Fatalf("%s: %v", name, err)
			}
			spent[name] += time.Since(begin)
		}
		b.StartTimer()
	}
	for name := range peers {
		b.ReportMetric(float64(spent[name])/float64(b.Elapsed()), "x_"+name)
	}
}

func fetch(addr string, want []byte) error {
	c, err := pin.NewClient(addr)
	if err != nil {
		return err
	}
	c.SetBlockSize(1428)
	from, err := c.Receive("loader", "octet")
	if err != nil {
		return err
	}
	var got bytes.Buffer
	got.Grow(len(want))
	if _, err := from.WriteTo(&got); err != nil {
		return err
	}
	if !bytes.Equal(got.Bytes(), want) {
		return fmt.Errorf("got %d bytes, want %d, or others", got.Len(), len(want))
	}
	return nil
}

// peerServer starts another server, if it is installed and we may use its port, and waits until it answers.
func peerServer(b *testing.B, addr string, command []string) bool {
	if _, there := prerequisite.Peer(b, command[0]); !there || os.Geteuid() != 0 {
		b.Logf("without %s: not installed, or not root", command[0])
		return false
	}
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Stdout, cmd.Stderr = io.Discard, io.Discard
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	for end := time.Now().Add(5 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		c, err := pin.NewClient(addr)
		if err != nil {
			b.Fatal(err)
		}
		c.SetTimeout(100 * time.Millisecond)
		c.SetRetries(1)
		if from, err := c.Receive("loader", "octet"); err == nil {
			from.WriteTo(io.Discard)
			return true
		}
	}
	b.Fatalf("%v does not answer on %s", command, addr)
	return false
}
