package qmp

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const greeting = `{"QMP": {"version": {"qemu": {"micro": 22, "minor": 2, "major": 7}, "package": ""}, "capabilities": ["oob"]}}` + "\r\n"

// script plays QEMU: it answers each command with the lines that answer gives.
func script(t *testing.T, answer func(command string, id int) string) net.Conn {
	ours, theirs := net.Pipe()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		defer theirs.Close()
		if _, err := io.WriteString(theirs, greeting); err != nil {
			return
		}
		for lines := bufio.NewScanner(theirs); lines.Scan(); {
			var m struct {
				Execute string
				ID      int
			}
			if err := json.Unmarshal(lines.Bytes(), &m); err != nil {
				t.Error(err)
				return
			}
			if _, err := io.WriteString(theirs, answer(m.Execute, m.ID)); err != nil {
				return
			}
			if m.Execute == "quit" {
				return
			}
		}
	}()
	t.Cleanup(func() { ours.Close(); <-ended })
	return ours
}

func ok(result string, id int) string {
	return fmt.Sprintf(`{"return": %s, "id": %d}`+"\r\n", result, id)
}

func TestClient(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	conn := script(t, func(command string, id int) string {
		switch command {
		case "query-status":
			return ok(`{"status": "paused", "singlestep": false, "running": false}`, id)
		case "stop":
			return `{"timestamp": {"seconds": 1700000000, "microseconds": 5}, "event": "STOP"}` + "\r\n" + ok("{}", id)
		case "system_reset":
			return ok("{}", 999) + // an answer to nobody
				fmt.Sprintf(`{"id": %d, "error": {"class": "GenericError", "desc": "no reset today"}}`+"\r\n", id)
		}
		return ok("{}", id)
	})
	var events []Event
	c, err := New(ctx, conn, func(e Event) { events = append(events, e) })
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Pause(ctx); err != nil {
		t.Error(err)
	}
	if diff := cmp.Diff([]Event{{Name: "STOP", At: time.Unix(1700000000, 5000)}}, events); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
	if got, err := c.Status(ctx); got != "paused" || err != nil {
		t.Errorf("status %q, %v, want paused", got, err)
	}
	var refused *Error
	if err := c.Reset(ctx); !errors.As(err, &refused) || refused.Description != "no reset today" {
		t.Errorf("reset: %v, want QEMU's refusal", err)
	}
	if err := c.Quit(ctx); err != nil {
		t.Errorf("quit: %v", err)
	}
	<-c.Done()
	if err := c.Resume(ctx); !errors.Is(err, ErrClosed) {
		t.Errorf("after the end: %v, want ErrClosed", err)
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
}

func TestExecuteEndsWithItsContext(t *testing.T) {
	conn := script(t, func(command string, id int) string {
		if command == "stop" {
			return "" // never answered
		}
		return ok("{}", id)
	})
	c, err := New(t.Context(), conn, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := c.Pause(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want a deadline", err)
	}
}

func TestNotQEMU(t *testing.T) {
	for name, says := range map[string]string{
		"nothing":   "",
		"no JSON":   "SSH-2.0-x\r\n",
		"no end":    strings.Repeat("x", maxMessage+1),
		"wrong way": "[]\n",
	} {
		ours, theirs := net.Pipe()
		go func() {
			io.WriteString(theirs, says)
			theirs.Close()
		}()
		if c, err := New(t.Context(), ours, nil); err == nil {
			c.Close()
			t.Errorf("%s: taken for QEMU", name)
		}
		theirs.Close()
	}
}

func FuzzClient(f *testing.F) {
	f.Add([]byte(greeting + `{"return": {}, "id": 1}` + "\n" + `{"event": "RESET", "timestamp": {}}` + "\n"))
	f.Add([]byte(`{"QMP":{}}{"id":1e99}`))
	f.Fuzz(func(t *testing.T, says []byte) {
		ours, theirs := net.Pipe()
		spoken, read := make(chan struct{}), make(chan struct{})
		go func() {
			defer close(spoken)
			theirs.Write(says)
			theirs.Close()
		}()
		go func() {
			defer close(read)
			io.Copy(io.Discard, theirs)
		}()
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		if c, err := New(ctx, ours, nil); err == nil {
			c.Close()
		}
		ours.Close()
		<-spoken
		<-read
	})
}
