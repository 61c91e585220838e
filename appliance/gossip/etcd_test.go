package gossip

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"strings"
	"testing"
	"time"

	"masthead/vmtest/prerequisite"
)

// The same as above with two members of etcd on the same machine, whose writes too are on both disks when they are
// answered. No etcd client is among our dependencies, so it is asked through its HTTP and JSON gateway, as its own
// documents describe for such programs; the gateway costs etcd some time that a gRPC client would not. Its members talk
// without TLS here, ours with it.

type etcdPair struct {
	client *http.Client
	urls   [2]string
}

// startEtcd gives nil where etcd is not installed.
func startEtcd(b *testing.B) *etcdPair {
	path, there := prerequisite.Peer(b, "etcd")
	if !there {
		b.Log("without etcd (Debian package etcd-server), which is missing")
		return nil
	}
	e := &etcdPair{client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}}}
	var peers [2]string
	for i := range peers {
		peers[i] = fmt.Sprintf("http://127.0.0.1:%d", freePort(b))
		e.urls[i] = fmt.Sprintf("http://127.0.0.1:%d", freePort(b))
	}
	initial := fmt.Sprintf("m0=%s,m1=%s", peers[0], peers[1])
	for i := range peers {
		cmd := exec.Command(path, "--name", fmt.Sprintf("m%d", i), "--data-dir", b.TempDir(),
			"--listen-peer-urls", peers[i], "--initial-advertise-peer-urls", peers[i], "--listen-client-urls", e.urls[i],
			"--advertise-client-urls", e.urls[i], "--initial-cluster", initial, "--log-level", "error")
		var log bytes.Buffer
		cmd.Stderr = &log
		if err := cmd.Start(); err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
			if b.Failed() {
				b.Log(log.String())
			}
		})
	}
	b.Cleanup(e.client.CloseIdleConnections)
	for start := time.Now(); ; time.Sleep(50 * time.Millisecond) {
		if err := e.put(0, "ready", "x"); err == nil {
			break
		} else if time.Since(start) > 20*time.Second {
			b.Fatal(err)
		}
	}
	return e
}

func (e *etcdPair) put(member int, key, value string) error {
	enc := base64.StdEncoding.EncodeToString
	body := fmt.Sprintf(`{"key":%q,"value":%q}`, enc([]byte(key)), enc([]byte(value)))
	resp, err := e.client.Post(e.urls[member]+"/v3/kv/put", "application/json", strings.NewReader(body))
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", resp.Status, answer)
	}
	return err
}

// watch gives a function that waits until a member tells of a change.
func (e *etcdPair) watch(b *testing.B, member int) (next func()) {
	ctx, cancel := context.WithCancel(context.Background())
	enc := base64.StdEncoding.EncodeToString
	body := fmt.Sprintf(`{"create_request":{"key":%q,"range_end":%q}}`, enc([]byte("m")), enc([]byte("n")))
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, e.urls[member]+"/v3/watch", strings.NewReader(body))
	if err != nil {
		b.Fatal(err)
	}
	resp, err := e.client.Do(req)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { cancel(); resp.Body.Close() })
	events := bufio.NewReader(resp.Body)
	next = func() {
		for {
			line, err := events.ReadBytes('\n')
			if err != nil {
				b.Fatal(err)
			}
			var answer struct {
				Result struct {
					Created bool              `json:"created"`
					Events  []json.RawMessage `json:"events"`
				} `json:"result"`
			}
			if err := json.Unmarshal(line, &answer); err != nil {
				b.Fatal(err)
			}
			if answer.Result.Created || len(answer.Result.Events) > 0 {
				return
			}
		}
	}
	next() // it was created
	return next
}
