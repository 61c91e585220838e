package vip

import (
	"strings"
	"testing"
	"time"
)

// TestFlush has an administrator remove all rules.
func TestFlush(t *testing.T) {
	l := newLab(t, "a", "c")
	a, _ := l.start("a", headConfig{Addresses: both})
	whole := func() bool {
		out := l.exec("a", "nft", "list", "ruleset")
		return strings.Count(out, "drop") == 8+6+3
	}
	if !whole() {
		t.Fatalf("rules:\n%s", l.exec("a", "nft", "list", "ruleset"))
	}
	watchers := l.both("c")
	a.do("prepare")
	for _, w := range watchers {
		w.silent("prepared", 200*time.Millisecond)
	}
	for _, command := range []string{"flush ruleset", "flush set inet " + tableName + " vip4", "delete table netdev " + tableName, "flush chain arp " + tableName + " in"} {
		begin := time.Now()
		l.exec("a", append([]string{"nft"}, strings.Fields(command)...)...)
		took := await(t, "the rules", whole)
		answers := 0
		time.Sleep(100 * time.Millisecond)
		for _, w := range watchers {
			_, n := w.since(begin)
			answers += n
			w.silent("after nft "+command, 100*time.Millisecond)
		}
		t.Logf("nft %s, prepared: back after %v, %d questions were answered", command, took.Round(time.Millisecond), answers)
	}
	a.hold(3, 400*time.Millisecond, 50*time.Millisecond)
	for _, w := range watchers {
		w.answering()
	}
	begin := time.Now()
	l.exec("a", "nft", "flush", "ruleset")
	await(t, "the rules", whole)
	time.Sleep(200 * time.Millisecond)
	a.do("release")
	released := time.Now()
	for name, w := range watchers {
		if gap := w.gap(begin); gap > 30*time.Millisecond {
			t.Errorf("%s: a gap of %v", name, gap)
		}
	}
	time.Sleep(500 * time.Millisecond)
	for name, w := range watchers {
		if last := w.last().Sub(released); last > 400*time.Millisecond {
			t.Errorf("%s: answered %v after the last refresh", name, last)
		}
		w.silent(name, 100*time.Millisecond)
	}
	events := a.look().Events
	if n := strings.Count(strings.Join(events, "\n"), missingRules); n != 5 {
		t.Errorf("told %d times of it: %q", n, events)
	}
	// Tables of others are not touched.
	l.exec("a", "nft", "add", "table", "inet", "mine")
	a.kill()
	l.start("a", headConfig{Addresses: both})
	if out := l.exec("a", "nft", "list", "tables"); !strings.Contains(out, "inet mine") {
		t.Errorf("tables:\n%s", out)
	}
}
