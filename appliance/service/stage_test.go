package service

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"masthead/appliance/failover"
)

// stage is a folder with scripts, and the group that runs them.
type stage struct {
	t      *testing.T
	dir    string
	cfg    Config
	group  *Group
	cancel context.CancelFunc
	ended  chan error

	mu     sync.Mutex
	wishes map[string]string
	events []string
}

func newStage(t *testing.T, services ...Service) *stage {
	t.Helper()
	s := &stage{t: t, dir: t.TempDir(), wishes: map[string]string{}}
	zero := time.Now()
	s.cfg = Config{
		Services: services, Self: "head1", Heads: []string{"head1", "head2"}, Record: filepath.Join(s.dir, "services.json"),
		Now: func() failover.Instant { return time.Since(zero) }, Log: quiet(), Owner: func() string { return "head2" },
		Gen: func() uint64 { return 4 },
		Wish: func(name string) string {
			s.mu.Lock()
			defer s.mu.Unlock()
			return s.wishes[name]
		},
		Event: func(text string, bad bool) {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.events = append(s.events, fmt.Sprintf("%s (%v)", text, bad))
		},
	}
	return s
}

// run starts a daemon; kill ends it, as a kill does: nothing is stopped.
func (s *stage) run() {
	s.t.Helper()
	group, err := New(s.cfg)
	if err != nil {
		s.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	s.group, s.cancel, s.ended = group, cancel, ended
	go func() { ended <- group.Run(ctx) }()
	s.t.Cleanup(cancel)
}

func (s *stage) kill() {
	s.t.Helper()
	s.cancel()
	select {
	case err := <-s.ended:
		if err != nil {
			s.t.Fatal(err)
		}
	case <-time.After(20 * time.Second):
		s.t.Fatal("Run does not return")
	}
}

// wait waits until the services stand as wanted.
func (s *stage) wait(want failover.Services) {
	s.t.Helper()
	s.until(want.String(), func() bool { return s.group.Services() == want })
}

func (s *stage) until(what string, ok func() bool) {
	s.t.Helper()
	until := time.Now().Add(30 * time.Second)
	for !ok() {
		if time.Now().After(until) {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.t.Fatalf("is not %s: %v\n%+v\n%s\n%s", what, s.group.Services(), s.group.States(), s.log(), strings.Join(s.events, "\n"))
		}
		time.Sleep(5 * time.Millisecond) // the scripts are processes; nobody tells when they have written
	}
}

// log is what the scripts have done.
func (s *stage) log() string {
	data, _ := os.ReadFile(filepath.Join(s.dir, "log"))
	return string(data)
}

// done gives the actions of the scripts, but for status; and forgets them.
func (s *stage) done() (list []string) {
	s.t.Helper()
	for line := range strings.Lines(s.log()) {
		if line = strings.TrimSpace(line); !strings.HasSuffix(line, " status") {
			list = append(list, line)
		}
	}
	if err := os.Remove(filepath.Join(s.dir, "log")); err != nil && !os.IsNotExist(err) {
		s.t.Fatal(err)
	}
	return list
}

// script writes an init script that runs while the file NAME.up is there. body may do something before: it has $1.
func (s *stage) script(name, body string) *Script {
	s.t.Helper()
	text := fmt.Sprintf(`#!/bin/sh
up=%[1]s/%[2]s.up
echo %[2]s $1 >>%[1]s/log
%[3]s
case $1 in
start) echo $$ >$up ;;
stop) rm -f $up ;;
status) test -e $up || exit 3 ;;
esac
`, s.dir, name, body)
	file := filepath.Join(s.dir, name)
	if err := os.WriteFile(file, []byte(text), 0o755); err != nil {
		s.t.Fatal(err)
	}
	return &Script{File: file}
}

func (s *stage) up(name string) bool {
	_, err := os.Stat(filepath.Join(s.dir, name+".up"))
	return err == nil
}

func (s *stage) write(name string) {
	s.t.Helper()
	if err := os.WriteFile(filepath.Join(s.dir, name), nil, 0o644); err != nil {
		s.t.Fatal(err)
	}
}

func (s *stage) wish(service, wish string) {
	s.mu.Lock()
	s.wishes[service] = wish
	s.mu.Unlock()
	s.group.Poke()
}

func (s *stage) state(service string) (state, reason string) {
	for _, x := range s.group.States() {
		if x.Name == service {
			return x.State, x.Reason
		}
	}
	return "", ""
}

const often = 50 * time.Millisecond
