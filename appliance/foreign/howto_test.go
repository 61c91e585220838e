package foreign

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"masthead/appliance/monitor"
	"masthead/vmtest/prerequisite"
)

// TestHowtoRuns: the mon.cf of the MySQL howto, imported, on a head whose port 3306 answers and then does not.
func TestHowtoRuns(t *testing.T) {
	prerequisite.Root(t)
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), "MASTHEAD_INSIDE=howto")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// howto runs in a network namespace of its own, where nobody else has port 3306.
func howto() error {
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return err
	}
	if err := netlink.LinkSetUp(lo); err != nil {
		return err
	}
	data, err := os.ReadFile(filepath.Join("testdata", "seed004.mon.cf"))
	if err != nil {
		return err
	}
	r, err := Mon(data)
	if err != nil {
		return err
	}
	monitors := r.Document.Monitors
	monitors[0].Interval, monitors[0].RandSkew = monitors[0].Interval/50, monitors[0].RandSkew/50 // 10 s, as it is, tries patience
	mysqld, err := net.Listen("tcp", "localhost:3306")
	if err != nil {
		return err
	}
	asked := make(chan string, 10)
	set, err := monitor.New(monitor.Config{
		Monitors: monitors, Cluster: "howto", Self: "sqlmaster", Owner: func() bool { return true }, Failover: func(reason string) { asked <- reason },
	})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- set.Run(ctx) }()
	for range 3 { // checks that find it well
		c, err := mysqld.Accept()
		if err != nil {
			return err
		}
		c.Close()
	}
	if len(asked) > 0 {
		return errors.New("asked for a failover while mysqld answers")
	}
	mysqld.Close()
	select {
	case reason := <-asked:
		if want := "monitor local_mysql:mysql: localhost: tcp port 3306: connection refused"; reason != want {
			return fmt.Errorf("asked for a failover: %q, want %q", reason, want)
		}
	case <-ctx.Done():
		return errors.New("no failover was asked for")
	}
	cancel()
	<-done
	return nil
}
