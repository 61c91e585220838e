package registry

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"masthead/appliance/state"
	"masthead/node/wire"
)

// withHead is a registry of the workers n01 and n02, the configured head head1, and head9, which was one elsewhere.
func withHead(t *testing.T) *Registry {
	t.Helper()
	db := openState(t, t.TempDir())
	t.Cleanup(func() { db.Close() })
	op, err := state.Put(state.KindHead, "head1", wire.HeadRecord{Address: netip.MustParseAddr("10.0.0.1")})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.Apply(t.Context(), admin, op); err != nil {
		t.Fatal(err)
	}
	r := newRegistry(t, db)
	add(t, r, "n01", 1)
	add(t, r, "n02", 2)
	for i, name := range []string{"head1", "head9"} {
		c := wire.NodeChange{Name: &name, MAC: ptr(mac(10 + i)), Attrs: map[string]string{"role": "head"}}
		if _, err := r.Add(t.Context(), admin, c); err != nil {
			t.Fatal(err)
		}
	}
	return r
}

func TestLeaveOutHeads(t *testing.T) {
	r := withHead(t)
	for _, tt := range []struct {
		set        string
		rest, left []string
	}{
		{"@all", []string{"n01", "n02"}, []string{"head1", "head9"}},
		{"~.", []string{"n01", "n02"}, []string{"head1", "head9"}},
		{"-n01", []string{"n02"}, []string{"head1", "head9"}},
		{"@all,head9", []string{"head9", "n01", "n02"}, []string{"head1"}},
		{"role=head", []string{"head1", "head9"}, nil},
		{"@all,-role=head", []string{"n01", "n02"}, nil},
		{"n01", []string{"n01"}, nil},
	} {
		nodes, err := r.List(tt.set, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		rest, left, err := r.LeaveOutHeads(tt.set, nodes)
		if err != nil || !slices.Equal(names(rest), tt.rest) || !slices.Equal(left, tt.left) {
			t.Errorf("%s: %v without %v, %v; want %v without %v", tt.set, names(rest), left, err, tt.rest, tt.left)
		}
	}
}

func TestHeadsStayAndKeepTheirIdentity(t *testing.T) {
	r := withHead(t)
	for name, refused := range map[string]bool{"head1": true, "head9": false, "n01": false} {
		if err := r.HeadsStay([]string{"n02", name}); errors.Is(err, ErrConflict) != refused || (err != nil && !refused) {
			t.Errorf("forget %s: %v", name, err)
		}
	}
	for _, tt := range []struct {
		name    string
		c       wire.NodeChange
		refused bool
	}{
		{"head1", wire.NodeChange{Name: ptr("other")}, true},
		{"head1", wire.NodeChange{Address: ptr("10.0.0.7")}, true},
		{"head1", wire.NodeChange{Address: ptr("")}, true},
		{"head1", wire.NodeChange{Name: ptr("head1"), Address: ptr("10.0.0.1"), Attrs: map[string]string{"a": "b"}}, false},
		{"n01", wire.NodeChange{Name: ptr("other"), Address: ptr("10.0.0.7")}, false},
	} {
		err := r.HeadsKeepIdentity([]string{tt.name}, tt.c)
		if errors.Is(err, ErrConflict) != tt.refused || (err != nil && !tt.refused) {
			t.Errorf("%s %+v: %v", tt.name, tt.c, err)
		}
	}
}

// The node that a head was goes with it, and with what is kept of its machine; one of that name that is no head stays.
func TestForgetHead(t *testing.T) {
	r := withHead(t)
	ops, err := r.ForgetHead("head1")
	if err != nil {
		t.Fatal(err)
	}
	want := []state.Op{state.Delete(state.KindNode, "head1"), state.Delete(state.KindInventory, mac(10)), state.Delete(state.KindBoot, mac(10))}
	slices.SortFunc(ops, func(a, b state.Op) int { return strings.Compare(string(b.Key.Kind), string(a.Key.Kind)) })
	slices.SortFunc(want, func(a, b state.Op) int { return strings.Compare(string(b.Key.Kind), string(a.Key.Kind)) })
	if diff := cmp.Diff(want, ops); diff != "" {
		t.Error(diff)
	}
	for _, name := range []string{"n01", "nobody"} {
		if ops, err := r.ForgetHead(name); err != nil || len(ops) != 0 {
			t.Errorf("%s: %v, %v", name, ops, err)
		}
	}
}

// A head that died a moment ago is asked, and does not answer: the refusal is the one that is given from then on.
func TestHeadThatJustDied(t *testing.T) {
	dirs := []string{t.TempDir(), t.TempDir()}
	for what, silence := range map[string]error{
		"no answer":  fmt.Errorf("gossip: ask head2 for apply: %w", context.DeadlineExceeded),
		"no machine": fmt.Errorf("gossip: ask head2 for apply: %w", &url.Error{Op: "Post", URL: "https://10.0.0.2", Err: errors.New("connection refused")}),
	} {
		t.Run(what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newCluster(t, dirs...)
				defer c.stop()
				one := c.reg["head1"]
				one.conf.ApplyAt = func(context.Context, string, state.Origin, ...state.Op) (state.Ack, []state.Record, error) {
					return state.Ack{}, nil, silence
				}
				name, ip := ownedBy(c, "head1", 0, nodeNo), ownedBy(c, "head2", 0, addressNo)
				want := fmt.Sprintf("address %q: only head2 may give it away, which does not answer", ip)
				for range 2 {
					_, err := one.Add(t.Context(), admin, wire.NodeChange{Name: &name, MAC: ptr(mac(1)), Address: &ip})
					var r *Refusal
					if !errors.As(err, &r) || err.Error() != want || !errors.Is(err, ErrConflict) || !strings.Contains(r.Try(), "masthead head eject head2") {
						t.Errorf("%v, want %s", err, want)
					}
				}
			})
		})
	}
}
