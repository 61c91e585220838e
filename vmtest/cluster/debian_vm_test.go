package cluster

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"masthead/images"
	"masthead/node/wire"
	"masthead/vmtest"
	"masthead/vmtest/qemu"
)

// sshPort is the name under which the lab forwards the head's sshd.
const sshPort = "ssh"

// TestVMDebian boots the shipped Debian head by BIOS from a stick, and from it the shipped worker by BIOS and one of the same Debian
// with more than 1 GiB of data in its root: by UEFI where MASTHEAD_LONG is set, as shim and GRUB take minutes, and TestVMCluster goes
// that way with a smaller one. Each worker has 512 MB of memory.
func TestVMDebian(t *testing.T) {
	turn := awaitTurn(t, timed, 3)
	big := bigRoot(t)
	worker := func(firmware qemu.Firmware) vmtest.MachineConfig {
		return vmtest.MachineConfig{Role: string(images.RoleWorker), Memory: 512, Firmware: firmware}
	}
	firmware, stages := qemu.BIOS, byScript
	if isLong() {
		firmware, stages = qemu.UEFI, byLoader
	}
	c := turn.start(t, vmtest.Config{
		Name: "debian",
		Machines: map[string]vmtest.MachineConfig{
			"head1": {Role: string(images.RoleHead), Memory: 768, Boot: vmtest.Boot{qemu.FromDisk}, NICs: []vmtest.NICConfig{{}},
				Disks:   []vmtest.DiskConfig{{Path: iso(t, bigHead(t, big)), Bus: qemu.USB, ReadOnly: true}, {Size: 256 << 20, Label: images.StateLabel}},
				Forward: map[string]int{HTTPS: 443, sshPort: 22}},
			"n01": worker(qemu.BIOS),
			"n02": worker(firmware),
		},
	})
	c.awaitHead(t, "head1")
	image := func(name string) wire.NodeChange { return wire.NodeChange{Image: &name} }
	must(t, c.Register(t.Context(), c.head, "n01", image("worker")))
	must(t, c.Register(t.Context(), c.head, "n02", image("big")))
	c.awaitUp(t, "head1", "head1", "")
	jump := c.login(t, "head1", func(ctx context.Context) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "tcp", c.Machine("head1").Forward(sshPort))
	})
	checkSystem(t, jump, "head1", "masthead-agent", "masthead-head")

	for _, worker := range []struct {
		name     string
		firmware []wire.Stage
	}{{"n01", byScript}, {"n02", stages}} {
		name := worker.name
		t.Run(name, func(t *testing.T) {
			why := c.awaitUp(t, name, name, "")
			checkStages(t, why, worker.firmware...)
			c.expect(t, name, bootTime, name+` login:`)
			address, _ := acks(why)
			node := c.login(t, name, func(ctx context.Context) (net.Conn, error) {
				return jump.DialContext(ctx, "tcp", net.JoinHostPort(address[0].String(), "22"))
			})
			checkSystem(t, node, name, "masthead-agent")
			t.Logf("%s, %.1f s after its kernel started:\n%s", name, why.Node.BootedIn, run(t, node, "free -m; findmnt -t erofs,overlay"))
			if name == "n02" {
				c.checkBig(t, node, big)
				c.becomesHead(t, node, address[0])
			}
			// An orderly end, with the root's server alive to the last.
			_, _ = output(node, "systemctl poweroff") // the connection may end before the command does
			ctx, cancel := context.WithTimeout(t.Context(), replyTime)
			defer cancel()
			if err := c.Machine(name).Wait(ctx); err != nil || c.Machine(name).State(ctx) != vmtest.Off {
				t.Errorf("%s is %s after poweroff: %v", name, c.Machine(name).State(ctx), err)
			}
			if text := c.Machine(name).Console.String(); strings.Contains(text, "I/O error") || strings.Contains(text, "no source of the root") {
				t.Errorf("%s lost its root on the way", name)
			}
		})
	}
}

// checkBig reads one file out of a root that is larger than the machine's memory twice over.
func (c *trial) checkBig(t *testing.T, node *ssh.Client, big bigImage) {
	t.Helper()
	n, err := c.head.Node(t.Context(), "n02")
	must(t, err)
	list, err := c.head.Images(t.Context())
	must(t, err)
	i := slices.IndexFunc(list, func(i wire.Image) bool { return i.Tag == "big" })
	if i < 0 || list[i].Size < 1<<30 {
		t.Fatalf("images: %+v, want big with more than 1 GiB", list)
	}
	if total := run(t, node, "grep MemTotal: /proc/meminfo"); n.Inventory.MemoryMB > 512 {
		t.Errorf("n02 has %d MB of memory, %s", n.Inventory.MemoryMB, total)
	}
	if r := n.RootState; r == nil || r.BytesFetched == 0 || r.BytesFetched > list[i].Stored {
		t.Errorf("the root of n02: %+v", r)
	} else {
		t.Logf("n02 was up with %.1f MB fetched of a root of %d MB, stored in %.1f MB", float64(r.BytesFetched)/1e6, list[i].Size>>20, float64(list[i].Stored)/1e6)
	}
	if out := run(t, node, "cat /proc/cmdline; sha256sum "+big.last); !strings.Contains(out, big.sum) || strings.Contains(out, "root=ram") {
		t.Errorf("on n02:\n%swant %s", out, big.sum)
	}
}

// becomesHead makes a second head of a Debian with the one command of the documentation. A worker stands in for a server
// with Debian on its disk: systemd, curl and the network are the same.
func (c *trial) becomesHead(t *testing.T, node *ssh.Client, address netip.Addr) {
	t.Helper()
	token, err := c.head.HeadToken(t.Context())
	must(t, err)
	run(t, node, "mv /run/masthead/node.json /run/node.json; umask 077; echo '"+token.Token+"' > /root/join-token")
	began := time.Now()
	t.Logf("on n02, in %.1f s:\n%s", time.Since(began).Seconds(),
		run(t, node, "curl -fsSL http://"+headAddress+"/install/head | MASTHEAD_TOKEN_FILE=/root/join-token MASTHEAD_NAME=head2 sh 2>&1"))
	ctx, cancel := context.WithTimeout(t.Context(), bootTime)
	defer cancel()
	for {
		heads, err := c.head.Heads(ctx)
		i := slices.IndexFunc(heads, func(h wire.HeadStatus) bool { return h.Name == "head2" && h.Address == address && h.Alive && h.Equal })
		if i >= 0 {
			break
		}
		if ctx.Err() != nil {
			t.Fatalf("head2 is not a head of the cluster: %+v, %v\n%s", heads, err, run(t, node, "journalctl -u masthead-head --no-pager | tail -40"))
		}
		time.Sleep(pollInterval)
	}
	// It starts again as a head of the cluster.
	eventually(t, replyTime, "head2 says that it is a head", func(context.Context) error {
		out, err := output(node, "systemctl is-enabled masthead-head && masthead state verify && masthead head list")
		if err == nil && !contains(out, "enabled", "equal", "head1", "head2") {
			err = errors.New(out)
		}
		return err
	})
	run(t, node, "mv /run/node.json /run/masthead/node.json")
	if out := run(t, node, "ls /usr/local/bin/masthead && sha256sum /usr/local/bin/masthead"); !strings.Contains(out, fileSum(t, program(t))) {
		t.Errorf("the program on head2 is not that of head1:\n%s", out)
	}
}

func fileSum(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	must(t, err)
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

// checkSystem looks whether systemd is content with a machine, and our units run in it.
func checkSystem(t *testing.T, node *ssh.Client, name string, units ...string) {
	t.Helper()
	eventually(t, bootTime, name+" has started everything", func(context.Context) error {
		state, err := output(node, "systemctl is-system-running")
		if state = strings.TrimSpace(state); state == "running" || state == "degraded" {
			return nil // degraded is judged below
		}
		return fmt.Errorf("%s, %w", state, err)
	})
	if failed := run(t, node, "systemctl --failed --no-legend --plain"); strings.TrimSpace(failed) != "" {
		t.Errorf("failed units of %s:\n%s", name, failed)
	}
	for _, unit := range units {
		if out, err := output(node, "systemctl is-active "+unit); err != nil {
			t.Errorf("%s: unit %s is %s", name, unit, out)
		}
	}
	if host := strings.TrimSpace(run(t, node, "hostname")); host != name {
		t.Errorf("%s calls itself %q", name, host)
	}
}

// login opens a connection as root with the lab's key. A machine that is up may not have its sshd yet.
func (c *trial) login(t *testing.T, name string, dial func(context.Context) (net.Conn, error)) *ssh.Client {
	t.Helper()
	key, err := os.ReadFile(filepath.Join(filepath.Dir(c.token), KeyFile))
	must(t, err)
	signer, err := ssh.ParsePrivateKey(key)
	must(t, err)
	config := &ssh.ClientConfig{User: "root", Auth: []ssh.AuthMethod{ssh.PublicKeys(signer)}, Timeout: 30 * time.Second,
		HostKeyCallback: ssh.InsecureIgnoreHostKey()} // made at its boot; the way there is the lab's own
	var client *ssh.Client
	eventually(t, bootTime, "log in to "+name, func(ctx context.Context) error {
		conn, err := dial(ctx)
		if err != nil {
			return err
		}
		stop := context.AfterFunc(ctx, func() { conn.Close() })
		defer stop()
		sc, channels, requests, err := ssh.NewClientConn(conn, name, config)
		if err != nil {
			return errors.Join(err, conn.Close())
		}
		client = ssh.NewClient(sc, channels, requests)
		return nil
	})
	t.Cleanup(func() { client.Close() })
	return client
}

// output runs a command and gives what it printed on both of its outputs.
func output(node *ssh.Client, command string) (string, error) {
	s, err := node.NewSession()
	if err != nil {
		return "", err
	}
	defer s.Close()
	out, err := s.CombinedOutput(command)
	return string(out), err
}

func run(t *testing.T, node *ssh.Client, command string) string {
	t.Helper()
	out, err := output(node, command)
	if err != nil {
		t.Fatalf("%s: %v\n%s", command, err, out)
	}
	return out
}
