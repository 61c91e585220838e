package state

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"sync"
	"testing"
	"time"
)

// writer is what TestKilled runs as a process of its own: it writes without end, and prints each id once it is
// acknowledged.
func writer(dir string) int {
	d, err := Open(Config{Dir: dir, Head: "head-1"})
	if err != nil {
		fmt.Println("error", err)
		return 1
	}
	start := len(d.List(KindNode, ""))
	var out, wg sync.Mutex
	wg.Lock()
	for w := range 8 {
		go func() { // killed with the process
			for i := 0; ; i++ {
				name := fmt.Sprintf("n%d-%d-%d", start, w, i)
				op, _ := Put(KindNode, name, map[string]int{"i": i})
				pair, _ := Put(KindNode, name+"-pair", map[string]int{"i": i})
				if _, err := d.Apply(context.Background(), Origin{"test", "local"}, op, pair); err != nil {
					fmt.Println("error", err)
					os.Exit(1)
				}
				out.Lock()
				fmt.Println(name)
				out.Unlock()
			}
		}()
	}
	wg.Lock() // for ever
	return 0
}

// A process that is killed at any moment has lost nothing that it acknowledged, and never half of a change. (What a
// power cut adds, the loss of what was not synced, is for a machine that can be cut: see the package vmtest.)
func TestKilled(t *testing.T) {
	dir := t.TempDir()
	const kills = 10
	acked := map[string]bool{}
	for round := range kills {
		for _, id := range killWriter(t, dir, time.Duration(20+rand.IntN(120))*time.Millisecond) {
			acked[id] = true
		}
		d := open(t, dir)
		if d.Damage() != nil {
			t.Fatalf("round %d: %v", round, d.Damage())
		}
		here := values(d, KindNode, "")
		for id := range acked {
			if here[id] == "" {
				t.Errorf("round %d: acknowledged %s is lost", round, id)
			}
		}
		for id := range here {
			if len(id) < 5 || id[len(id)-5:] != "-pair" {
				if here[id+"-pair"] == "" {
					t.Errorf("round %d: %s is there without its pair", round, id)
				}
			}
		}
		d.Close()
	}
	if len(acked) < kills { // each round sees one, or the process never wrote
		t.Errorf("only %d writes were acknowledged over %d kills", len(acked), kills)
	}
	t.Logf("%d writes acknowledged over %d kills", len(acked), kills)
}

func killWriter(t *testing.T, dir string, after time.Duration) (acked []string) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "STATE_TEST_WRITER="+dir)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	timer := time.AfterFunc(time.Minute, func() { cmd.Process.Kill() }) // should it never write
	defer timer.Stop()
	r := bufio.NewReader(out)
	for {
		line, err := r.ReadString('\n')
		if err == io.EOF {
			break // a line without its end was not printed whole, and counts for nothing
		}
		if err != nil {
			t.Fatal(err)
		}
		if len(acked) == 0 { // it runs: now the clock does
			timer.Reset(after)
		}
		id := line[:len(line)-1]
		if len(id) > 5 && id[:5] == "error" {
			t.Error(id)
		}
		acked = append(acked, id)
	}
	cmd.Wait() // killed, as it should
	return acked
}
