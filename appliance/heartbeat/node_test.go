package heartbeat

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"

	"masthead/appliance/failover"
)

// nodeEnv is the configuration of a head that runs in a process of its own, as JSON: threads of a Go program cannot be
// in different network namespaces and share what Run starts.
const nodeEnv = "MASTHEAD_TEST_HEARTBEAT"

// beNode answers each line of its input with a line: "say {…}", "links", "said PEER". It ends with its input.
func beNode(config string) int {
	var c nodeConfig
	if err := json.Unmarshal([]byte(config), &c); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 2
	}
	h, err := New(Config{Cluster: "c1", Self: c.Self, Key: testKey, NICs: c.NICs})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 2
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- h.Run(ctx) }()
	out := json.NewEncoder(os.Stdout)
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		verb, arg, _ := strings.Cut(in.Text(), " ")
		switch verb {
		case "say":
			var s failover.Said
			err = json.Unmarshal([]byte(arg), &s)
			h.Say(s)
			err = out.Encode(err == nil)
		case "links":
			err = out.Encode(nodeLinks{h.config.Now(), h.Links()})
		case "said":
			var id int
			fmt.Sscan(arg, &id)
			err = out.Encode(h.Said(id))
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 2
		}
	}
	cancel()
	if err := <-done; err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

type nodeConfig struct {
	Self int
	NICs []NIC
}

type nodeLinks struct {
	Now   failover.Instant
	Links []LinkState
}

// node is such a process.
type node struct {
	t   testing.TB
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
}

// startNode runs a head in a network namespace.
func startNode(t testing.TB, ns string, c nodeConfig) *node {
	t.Helper()
	config, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	n := &node{t: t, cmd: exec.Command("ip", "netns", "exec", ns, self)}
	n.cmd.Env = append(os.Environ(), nodeEnv+"="+string(config))
	n.cmd.Stderr = os.Stderr
	if n.in, err = n.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := n.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	n.out = bufio.NewReader(out)
	if err := n.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		n.in.Close()
		if err := n.cmd.Wait(); err != nil && n.cmd.ProcessState.ExitCode() >= 0 {
			t.Errorf("head %d: %v", c.Self, err)
		}
	})
	return n
}

func (n *node) ask(answer any, question string) {
	n.t.Helper()
	if _, err := io.WriteString(n.in, question+"\n"); err != nil {
		n.t.Fatal(err)
	}
	line, err := n.out.ReadBytes('\n')
	if err == nil {
		err = json.Unmarshal(line, answer)
	}
	if err != nil {
		n.t.Fatalf("%s: %v", question, err)
	}
}

func (n *node) say(s failover.Said) {
	n.t.Helper()
	b, err := json.Marshal(s)
	if err != nil {
		n.t.Fatal(err)
	}
	var ok bool
	n.ask(&ok, "say "+string(b))
}

func (n *node) said(peer int) (s failover.Said) {
	n.t.Helper()
	n.ask(&s, fmt.Sprint("said ", peer))
	return s
}

func (n *node) links() (l nodeLinks) {
	n.t.Helper()
	n.ask(&l, "links")
	return l
}

// heard reports whether the node heard on a link within ten intervals.
func (l nodeLinks) heard(i int) bool {
	at := l.Links[i].Heard
	return at >= 0 && l.Now-at < 10*DefaultInterval
}
