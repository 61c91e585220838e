package appliance

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"masthead/appliance/ownership"
	"masthead/appliance/state"
	"masthead/node/wire"
)

const twoServices = "services:\n  - {name: web, recovery: disable, resources: [{name: x, script: {file: /bin/true}}]}\n" +
	"  - {name: db, recovery: disable, resources: [{name: y, script: {file: /bin/echo}}]}\n"

// What `recovery: disable` has disabled on this head is disabled in the cluster, so that the next owner does not start it.
func TestRecoveryDisablesInTheCluster(t *testing.T) {
	h, c := newHead(t, nil)
	set(t, c, twoServices)
	// Somebody enables db after it was given up, and before this head has noticed that it was.
	if _, err := c.ChangeService(t.Context(), "db", wire.ServiceChange{Action: "enable"}); err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	after := "never asked"
	farEnd(t, h, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != wire.PathOwnerEvents {
			writeJSON(w, http.StatusOK, wire.OwnerStatus{Services: []wire.ServiceState{
				{Name: "web", State: "disabled", GivenUp: "x: start: exit code 1"},
				{Name: "db", State: "disabled", GivenUp: "x: start: exit code 1", Wished: time.Now().Add(-time.Hour)},
				{Name: "gone", State: "disabled", GivenUp: "x: start: exit code 1"},
			}})
			return
		}
		mu.Lock()
		first := after == "never asked"
		after = r.URL.Query().Get("after")
		mu.Unlock()
		if !first {
			<-r.Context().Done()
			return
		}
		writeJSON(w, http.StatusOK, []wire.OwnerEvent{{Seq: 1, Time: time.Now(), Kind: "service", Text: "service web: disabled"}})
	}))
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- h.followOwner(ctx) }()
	const told = "service web is disabled in the cluster until somebody enables it: x: start: exit code 1" // last of all
	deadline := time.Now().Add(headPatience)
	for !strings.Contains(eventTexts(h), told) && time.Now().Before(deadline) {
		time.Sleep(time.Millisecond) // the state and the events are another goroutine's
	}
	stop()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if h.wish("web") != "disabled" || h.wish("db") != "enabled" || h.wish("gone") != "" {
		t.Errorf("web %q, db %q, gone %q", h.wish("web"), h.wish("db"), h.wish("gone"))
	}
	if text := eventTexts(h); !strings.Contains(text, told) {
		t.Errorf("events:\n%s", text)
	}
}

// TestRecoveryDisablesLater: what cannot be written now is tried again, though the daemon has forgotten it, and told once.
func TestRecoveryDisablesLater(t *testing.T) {
	h, c := newHead(t, nil)
	set(t, c, twoServices)
	given := givenUp{}
	given.note([]wire.ServiceState{{Name: "web", GivenUp: "died"}, {Name: "db", State: "started"}})
	if err := h.setPhase(memberFile{Phase: phaseSyncing}); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		h.disableAll(t.Context(), given)
		given.note(nil)
	}
	if h.wish("web") != "" || len(given) != 1 {
		t.Fatalf("written in the middle of another change: %q, %v", h.wish("web"), given)
	}
	if err := h.setPhase(memberFile{Phase: phaseNone}); err != nil {
		t.Fatal(err)
	}
	h.disableAll(t.Context(), given)
	if h.wish("web") != "disabled" || len(given) != 0 {
		t.Errorf("not tried again: %q, %v", h.wish("web"), given)
	}
	if n := strings.Count(eventTexts(h), "it is tried again"); n != 1 {
		t.Errorf("told %d times:\n%s", n, eventTexts(h))
	}

	// Enabled again, it fails again, under that wish.
	at := time.Now().UTC()
	op, err := state.Put(state.KindService, "web", ownership.Wish{Wish: "enabled", At: at})
	if err == nil {
		_, err = h.store().Apply(t.Context(), ownOrigin, op)
	}
	if err != nil {
		t.Fatal(err)
	}
	given.note([]wire.ServiceState{{Name: "web", GivenUp: "died"}}) // of before
	h.disableAll(t.Context(), given)
	if h.wish("web") != "enabled" || len(given) != 0 {
		t.Errorf("what was said later was not obeyed: %q, %v", h.wish("web"), given)
	}
	given.note([]wire.ServiceState{{Name: "web", GivenUp: "died again", Wished: at}})
	h.disableAll(t.Context(), given)
	if h.wish("web") != "disabled" {
		t.Errorf("the second time: %q", h.wish("web"))
	}
}

func eventTexts(h *Head) string {
	var b strings.Builder
	for _, e := range h.reg.Log().Last(50) {
		b.WriteString(e.Text + "\n")
	}
	return b.String()
}
