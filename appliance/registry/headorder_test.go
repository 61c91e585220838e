package registry

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"masthead/node/wire"
)

func TestHeadOrder(t *testing.T) {
	for _, tc := range []struct{ chosen, configured, want string }{
		{"h2", "h1 h2", "h2 h1"},
		{"h2 h1", "h1 h2", "h2 h1"},
		{"h9 h2 h2", "h1 h2", "h2 h1"}, // one that is none, and one twice
		{"h1", "h1", "h1"},
		{"h1", "", ""},
	} {
		got := headOrder("n01", strings.Fields(tc.chosen), strings.Fields(tc.configured))
		if strings.Join(got, " ") != tc.want {
			t.Errorf("%+v: %v", tc, got)
		}
	}
}

// Without lists the nodes are spread evenly, and a head that goes moves only those that it had.
func TestHeadOrderSpreads(t *testing.T) {
	heads := []string{"head1", "head2", "head3"}
	first := map[string]int{}
	const nodes = 3000
	for i := range nodes {
		name := fmt.Sprintf("n%04d", i)
		all := headOrder(name, nil, heads)
		first[all[0]]++
		without := headOrder(name, nil, slices.DeleteFunc(slices.Clone(heads), func(h string) bool { return h == "head2" }))
		if all[0] != "head2" && without[0] != all[0] {
			t.Errorf("%s went from %s to %s when head2 was removed", name, all[0], without[0])
		}
	}
	for _, h := range heads {
		if n := first[h]; n < nodes*28/100 || n > nodes*39/100 {
			t.Errorf("%s is first for %d of %d nodes", h, n, nodes)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		heads := rapid.SliceOfNDistinct(rapid.StringMatching(`h[0-9]`), 0, 6, rapid.ID).Draw(t, "heads")
		chosen := rapid.SliceOf(rapid.StringMatching(`h[0-9]`)).Draw(t, "chosen")
		name := rapid.StringMatching(`n[0-9]{2}`).Draw(t, "node")
		got := headOrder(name, chosen, heads)
		again := headOrder(name, chosen, rapid.Permutation(heads).Draw(t, "permuted"))
		if diff := cmp.Diff(got, again); diff != "" {
			t.Fatal(diff)
		}
		sorted := slices.Sorted(slices.Values(got))
		if !slices.Equal(sorted, slices.Sorted(slices.Values(heads))) {
			t.Fatalf("%v of %v", got, heads)
		}
	})
}

func TestGroups(t *testing.T) {
	dirs := []string{t.TempDir(), t.TempDir()}
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, dirs...)
		defer c.stop()
		one, two := c.reg["head1"], c.reg["head2"]
		for i, name := range []string{"n01", "n02"} {
			add(t, one, name, i+1)
		}
		if _, err := one.Set(t.Context(), admin, []string{"n01", "n02"}, wire.NodeChange{Groups: &[]string{"rack1", "a"}, Image: ptr("")}); err != nil {
			t.Fatal(err)
		}
		for _, bad := range []struct {
			name   string
			change wire.GroupChange
			want   string
		}{
			{"rack1", wire.GroupChange{Heads: &[]string{"head9"}}, `heads "head9": no such head; there are head1, head2`},
			{"rack1", wire.GroupChange{Heads: &[]string{"head1", "head1"}}, "is named twice"},
			{"rack/1", wire.GroupChange{Heads: &[]string{"head1"}}, "letters, digits"},
			{"all", wire.GroupChange{Heads: &[]string{"head1"}}, "every node is in it already"},
		} {
			if _, err := one.SetGroup(t.Context(), admin, bad.name, bad.change); !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), bad.want) {
				t.Errorf("%s %+v: %v", bad.name, bad.change, err)
			}
		}
		change := wire.GroupChange{Heads: &[]string{"head2", "head1"}, Image: ptr("worker"), DryRun: true}
		want := wire.GroupChanged{
			Group: wire.Group{Name: "rack1", Heads: []string{"head2", "head1"}, Image: "worker"},
			Diff:  []wire.Difference{{Field: "heads", New: "head2,head1"}, {Field: "image", New: "worker"}},
		}
		for _, dry := range []bool{true, false} {
			change.DryRun, want.Applied = dry, !dry
			got, err := one.SetGroup(t.Context(), admin, "rack1", change)
			if diff := cmp.Diff(want, got); err != nil || diff != "" {
				t.Errorf("dry run %t: %v\n%s", dry, err, diff)
			}
		}
		synctest.Wait()
		for _, r := range []*Registry{one, two} {
			all := []wire.Group{{Name: "a", Nodes: 2, Set: "n[01-02]"}, {Name: "rack1", Heads: []string{"head2", "head1"}, Image: "worker", Nodes: 2, Set: "n[01-02]"}}
			if diff := cmp.Diff(all, r.Groups()); diff != "" {
				t.Errorf("%s:\n%s", r.conf.Head, diff)
			}
			if got := r.HeadOrder("n01"); !slices.Equal(got, []string{"head2", "head1"}) {
				t.Errorf("by the group: %v", got)
			}
			if rec, _ := r.Record("n01"); r.ImageRef(rec) != "worker" {
				t.Errorf("image %q", r.ImageRef(rec))
			}
		}
		if _, err := one.Set(t.Context(), admin, []string{"n01"}, wire.NodeChange{Heads: &[]string{"head1"}}); err != nil {
			t.Fatal(err)
		}
		if got := one.HeadOrder("n01"); !slices.Equal(got, []string{"head1", "head2"}) {
			t.Errorf("by its own list: %v", got)
		}
		if _, err := one.Set(t.Context(), admin, []string{"n01"}, wire.NodeChange{Heads: &[]string{"x"}}); !errors.Is(err, ErrInvalid) {
			t.Errorf("a head that is none: %v", err)
		}
		removed, err := two.RemoveGroup(t.Context(), admin, "rack1", true)
		if err != nil || removed.Applied || len(removed.Diff) != 2 {
			t.Errorf("dry rm: %+v, %v", removed, err)
		}
		if _, err := two.RemoveGroup(t.Context(), admin, "rack1", false); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if got := one.Groups(); len(got) != 2 || got[1].Heads != nil {
			t.Errorf("%+v", got)
		}
		if _, err := two.RemoveGroup(t.Context(), admin, "rack1", false); !errors.Is(err, ErrNotFound) {
			t.Errorf("rm again: %v", err)
		}
		entries, err := c.db["head2"].Audit(1)
		if err != nil || len(entries) != 1 || entries[0].Changes[0].Key != "group/rack1" || entries[0].Who != "admin" {
			t.Errorf("audit: %+v, %v", entries, err)
		}
	})
}
