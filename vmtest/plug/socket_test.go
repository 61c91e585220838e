package plug

import (
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestSocketServesOneAfterTheOther(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	got := make(chan string, 2)
	s, err := Listen(path, func(c net.Conn) {
		b, _ := io.ReadAll(c)
		got <- string(b)
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"first", "second"} {
		c, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		io.WriteString(c, want)
		c.Close()
		if g := <-got; g != want {
			t.Errorf("served %q, want %q", g, want)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); !os.IsNotExist(err) {
		t.Errorf("after Close the socket is still there: %v", err)
	}
}

func TestCloseDropsTheDevice(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	serving := make(chan struct{})
	s, err := Listen(path, func(c net.Conn) {
		close(serving)
		io.ReadAll(c)
	})
	if err != nil {
		t.Fatal(err)
	}
	c, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	<-serving
	s.Close() // must return although the device keeps its end open
	if _, err := c.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("device reads %v after Close, want EOF", err)
	}
}

func TestLongPath(t *testing.T) {
	_, err := Listen("/tmp/"+strings.Repeat("x", 110), nil)
	if err == nil || !strings.Contains(err.Error(), "107") {
		t.Errorf("Listen on a long path: %v, want an error that names the limit", err)
	}
}
