package registry

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"masthead/appliance/state"
	"masthead/node/wire"
)

func bind(r *Registry, n int, ip string) error {
	now := time.Now()
	l := Lease{IP: netip.MustParseAddr(ip), MAC: mac(n), State: "bound", Renewed: now, Expires: now.Add(time.Hour)}
	return r.CommitLease(context.Background(), l, func(old Lease) bool { return !old.Expires.After(now) || old.MAC == l.MAC })
}

// What falls into a slot is given away by its head alone: through it from elsewhere, and by nobody while it is away.
func TestExplicitGrants(t *testing.T) {
	dirs := []string{t.TempDir(), t.TempDir()}
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, dirs...)
		defer c.stop()
		one, two := c.reg["head1"], c.reg["head2"]
		theirs, theirs2, ours := ownedBy(c, "head2", 0, addressNo), ownedBy(c, "head2", 1, addressNo), ownedBy(c, "head1", 0, addressNo)
		name1, name2 := ownedBy(c, "head1", 0, nodeNo), ownedBy(c, "head2", 0, nodeNo)
		if _, err := one.ChangeSettings(t.Context(), admin, wire.SettingsChange{AutoApprove: ptr(true)}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()

		// A name of one head and an address of the other, at once.
		if _, err := one.Add(t.Context(), admin, wire.NodeChange{Name: &name1, MAC: ptr(mac(1)), Address: &theirs}); err != nil {
			t.Fatal(err)
		}
		if _, err := one.Add(t.Context(), admin, wire.NodeChange{Name: &name2, MAC: ptr(mac(2)), Address: &ours}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		for _, r := range c.reg {
			if rec, ok := r.ByAddress(netip.MustParseAddr(theirs)); !ok || rec.Name != name1 {
				t.Errorf("%s: %s is of %+v", r.conf.Head, theirs, rec)
			}
		}
		// Both want the same at the same moment, and neither knows of the other yet.
		var wg sync.WaitGroup
		errs := make([]error, 2)
		for i, r := range []*Registry{one, two} {
			wg.Go(func() {
				_, errs[i] = r.Set(t.Context(), admin, []string{[]string{name1, name2}[i]}, wire.NodeChange{Address: &theirs2})
			})
		}
		wg.Wait()
		if (errs[0] == nil) == (errs[1] == nil) || !errors.Is(errors.Join(errs...), ErrConflict) {
			t.Errorf("two who reserve one address: %v; %v", errs[0], errs[1])
		}
		synctest.Wait()

		c.part("head2")
		for _, tc := range []struct {
			change wire.NodeChange
			fields []string
		}{
			{wire.NodeChange{Address: ptr(ownedBy(c, "head2", 5, addressNo))}, []string{"address"}},
			{wire.NodeChange{Name: ptr(ownedBy(c, "head2", 5, nodeNo))}, []string{"name"}},
			{wire.NodeChange{Name: ptr(ownedBy(c, "head2", 5, nodeNo)), Address: ptr(ownedBy(c, "head2", 5, addressNo))}, []string{"name", "address"}},
		} {
			for _, dry := range []bool{true, false} {
				tc.change.DryRun = dry
				_, err := one.Set(t.Context(), admin, []string{name1}, tc.change)
				for _, f := range tc.fields {
					if err == nil || !strings.Contains(err.Error(), f+` "`) || !strings.Contains(err.Error(), "only head2 may give it away, which does not answer") {
						t.Errorf("dry run %t, %s of a head that is away: %v", dry, f, err)
					}
				}
				var refusal *Refusal
				if !errors.As(err, &refusal) || !strings.Contains(refusal.Try(), "masthead head eject head2") {
					t.Errorf("dry run %t: %+v", dry, err)
				}
			}
		}
		if _, err := one.Set(t.Context(), admin, []string{name1}, wire.NodeChange{Address: ptr(ownedBy(c, "head1", 5, addressNo)), Name: ptr(ownedBy(c, "head1", 5, nodeNo)), Root: ptr("ram")}); err != nil {
			t.Errorf("what is its own to give: %v", err)
		}
		for i, name := range []string{"rack-a", "rack-b", "rack-c", "rack-d"} { // no numbers, of whichever head
			if _, err := one.Add(t.Context(), admin, wire.NodeChange{Name: &name, MAC: ptr(mac(20 + i))}); err != nil {
				t.Errorf("a name that nobody numbers: %v", err)
			}
		}
		if err := bind(one, 7, ownedBy(c, "head2", 9, addressNo)); err == nil || !strings.Contains(err.Error(), "only head2") {
			t.Errorf("a lease: %v", err)
		}
		if err := bind(two, 7, ownedBy(c, "head2", 9, addressNo)); err != nil {
			t.Errorf("the same, on head2: %v", err)
		}
	})
}

// An owner that membership still calls alive, and that answers nothing: the name is another head's then.
func TestOwnerDoesNotAnswer(t *testing.T) {
	dirs := []string{t.TempDir(), t.TempDir()}
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, dirs...)
		defer c.stop()
		one := c.reg["head1"]
		asked := 0
		one.conf.ApplyAt = func(ctx context.Context, _ string, _ state.Origin, _ ...state.Op) (state.Ack, []state.Record, error) {
			asked++
			<-ctx.Done()
			return state.Ack{}, nil, ctx.Err()
		}
		if _, err := one.ChangeSettings(t.Context(), admin, wire.SettingsChange{AutoApprove: ptr(true)}); err != nil {
			t.Fatal(err)
		}
		var got []string
		for i := range 4 {
			name, _, err := one.Discover(t.Context(), Discovery{MAC: mac(i), Time: time.Now()})
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, name)
		}
		var want []string
		for i := range 4 {
			want = append(want, ownedBy(c, "head1", i, nodeNo))
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
		if asked > 1 {
			t.Errorf("it was asked %d times", asked)
		}
	})
}

// A name that could be had, with an address that could not, is taken back.
func TestNameWithoutItsAddressIsTakenBack(t *testing.T) {
	dirs := []string{t.TempDir(), t.TempDir()}
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, dirs...)
		defer c.stop()
		one := c.reg["head1"]
		one.conf.ApplyAt = func(context.Context, string, state.Origin, ...state.Op) (state.Ack, []state.Record, error) {
			return state.Ack{}, nil, errors.New("no route to host")
		}
		name, ip := ownedBy(c, "head1", 0, nodeNo), ownedBy(c, "head2", 0, addressNo)
		_, err := one.Add(t.Context(), admin, wire.NodeChange{Name: &name, MAC: ptr(mac(1)), Address: &ip})
		if !errors.Is(err, ErrConflict) || !strings.Contains(err.Error(), "only head2 may give it away, which did not: no route to host") {
			t.Errorf("%v", err)
		}
		add(t, one, ownedBy(c, "head1", 1, nodeNo), 2)
		synctest.Wait()
		for _, r := range c.reg {
			if got := list(t, r, ""); !slices.Equal(got, []string{ownedBy(c, "head1", 1, nodeNo)}) {
				t.Errorf("%s: %v", r.conf.Head, got)
			}
		}
	})
}

// What was written between New and Run is not missed.
func TestRunReadsWhatCameBefore(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		db := openState(t, dir)
		defer db.Close()
		r := newRegistry(t, db)
		op, err := state.Put(state.KindHead, "head-1", wire.HeadRecord{Address: netip.MustParseAddr("10.0.0.9")})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := db.Apply(t.Context(), admin, op); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- r.Run(ctx) }()
		synctest.Wait()
		if !r.IsHead(netip.MustParseAddr("10.0.0.9")) {
			t.Error("the head's record was missed")
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

// A reservation and the pool meet at the address's lease.
func TestReservationMeetsPool(t *testing.T) {
	dirs := []string{t.TempDir(), t.TempDir()}
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, dirs...)
		defer c.stop()
		one, two := c.reg["head1"], c.reg["head2"]
		add(t, one, "n01", 1)
		add(t, one, "n02", 2)
		synctest.Wait()
		ip := ownedBy(c, "head2", 0, addressNo)
		if _, err := one.Set(t.Context(), admin, []string{"n01"}, wire.NodeChange{Address: &ip}); err != nil {
			t.Fatal(err)
		}
		if err := bind(two, 9, ip); !errors.Is(err, ErrTaken) {
			t.Errorf("a reserved address to a stranger: %v", err)
		}
		c.part("head2")
		if err := bind(one, 1, ip); err != nil {
			t.Errorf("a reserved address to its machine, while the head that gave it is away: %v", err)
		}
		if err := bind(one, 1, ip); err != nil {
			t.Errorf("and again: %v", err)
		}
		c.join()
		synctest.Wait()
		// Given back and away to another: its own lease goes on meanwhile.
		if _, err := one.Set(t.Context(), admin, []string{"n01"}, wire.NodeChange{Address: ptr("")}); err != nil {
			t.Fatal(err)
		}
		if err := bind(two, 2, ip); !errors.Is(err, ErrTaken) {
			t.Errorf("while it is leased: %v", err)
		}
		time.Sleep(2 * time.Hour)
		if err := bind(two, 2, ip); err != nil {
			t.Errorf("afterwards: %v", err)
		}
	})
}

// Two heads discover at the same time, and no name is given twice; the numbers stay dense.
func TestDiscoverOnTwoHeads(t *testing.T) {
	dirs := []string{t.TempDir(), t.TempDir()}
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, dirs...)
		defer c.stop()
		if _, err := c.reg["head1"].ChangeSettings(t.Context(), admin, wire.SettingsChange{AutoApprove: ptr(true)}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		const n = 120
		var wg sync.WaitGroup
		var mu sync.Mutex
		given := map[string]int{}
		for i := range n {
			wg.Go(func() {
				name, _, err := c.reg[c.names[i%2]].Discover(context.Background(), Discovery{MAC: mac(i), Time: time.Now()})
				if err != nil {
					t.Error(err)
				}
				mu.Lock()
				defer mu.Unlock()
				given[name]++
			})
		}
		wg.Wait()
		synctest.Wait()
		if len(given) != n {
			t.Errorf("%d names for %d machines", len(given), n)
		}
		highest := 0
		for name := range given {
			highest = max(highest, numberOf(DefaultNamePattern, name))
		}
		if highest > 2*n {
			t.Errorf("%d machines, and the highest number is %d", n, highest)
		}
		for _, r := range c.reg {
			if got := len(list(t, r, "")); got != n || len(r.Duplicates()) != 0 {
				t.Errorf("%s: %d nodes, duplicates %v", r.conf.Head, got, r.Duplicates())
			}
		}
	})
}

// Heads do anything in any order, together and apart; nothing that they give away is ever given twice.
func TestNothingTwice(t *testing.T) {
	root := t.TempDir()
	run := 0
	rapid.Check(t, func(rt *rapid.T) {
		run++
		type act struct{ what, head, machine, thing int }
		acts := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) act {
			return act{rapid.IntRange(0, 6).Draw(t, "what"), rapid.IntRange(0, 1).Draw(t, "head"), rapid.IntRange(0, 5).Draw(t, "machine"), rapid.IntRange(0, 3).Draw(t, "thing")}
		}), 5, 30).Draw(rt, "acts")
		synctest.Test(t, func(t *testing.T) {
			c := newCluster(t, fmt.Sprintf("%s/%d/1", root, run), fmt.Sprintf("%s/%d/2", root, run))
			defer c.stop()
			if _, err := c.reg["head1"].ChangeSettings(t.Context(), admin, wire.SettingsChange{AutoApprove: ptr(true)}); err != nil {
				rt.Fatal(err)
			}
			synctest.Wait()
			held := map[string]Lease{} // what machines were told, by address
			named := map[string]string{}
			discovered := map[int]bool{}
			for _, a := range acts {
				r := c.reg[c.names[a.head]]
				ip := addressNo(a.thing)
				switch a.what {
				case 0:
					if discovered[a.machine] {
						break // a machine asks one head after the other, not two parts of a cluster at once
					}
					name, _, err := r.Discover(t.Context(), Discovery{MAC: mac(a.machine), Time: time.Now()})
					if err != nil {
						break
					}
					discovered[a.machine] = true
					if who, ok := named[name]; ok && who != mac(a.machine) {
						rt.Fatalf("%s for %s and %s", name, who, mac(a.machine))
					}
					named[name] = mac(a.machine)
				case 1, 2:
					now := time.Now()
					if bind(r, a.machine, ip) != nil {
						break
					}
					if l, ok := held[ip]; ok && l.MAC != mac(a.machine) && l.Expires.After(now) {
						rt.Fatalf("%s for %s and %s", ip, l.MAC, mac(a.machine))
					}
					for other, l := range held {
						if l.MAC == mac(a.machine) {
							delete(held, other)
						}
					}
					held[ip] = Lease{MAC: mac(a.machine), Expires: now.Add(time.Hour)}
				case 3:
					nodes := list(t, r, "")
					if len(nodes) > 0 {
						_, _ = r.Set(t.Context(), admin, []string{nodes[a.machine%len(nodes)]}, wire.NodeChange{Address: ptr("10.0.2." + fmt.Sprint(a.thing+1))})
					}
				case 4:
					c.part("head2")
				case 5:
					c.join()
					c.settle()
				case 6:
					time.Sleep(10 * time.Minute)
				}
			}
			c.join()
			time.Sleep(awayTime)
			c.settle()
			for _, r := range c.reg {
				if d := r.Duplicates(); len(d) > 0 {
					rt.Fatalf("%s: %v", r.conf.Head, d)
				}
			}
		})
	})
}

// After a merge of two states that each gave something away by itself, as only a restored state can, all heads agree
// on who keeps it.
func TestDuplicates(t *testing.T) {
	dirs := []string{t.TempDir(), t.TempDir()}
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, dirs...)
		defer c.stop()
		one := c.reg["head1"]
		ip := netip.MustParseAddr("10.0.0.77")
		for _, rec := range []Record{
			{Name: "n09", MAC: mac(1), Address: ip, Approved: true}, {Name: "n10", MAC: mac(1), Approved: true}, {Name: "n02", MAC: mac(1)}, {Name: "n11", MAC: mac(2), Address: ip, Approved: true},
		} {
			op, err := state.Put(state.KindNode, rec.Name, rec)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := c.db["head2"].Apply(t.Context(), admin, op); err != nil {
				t.Fatal(err)
			}
		}
		c.settle()
		want := []Duplicate{
			{"address", "10.0.0.77", "n09", []string{"n11"}},
			{"mac", mac(1), "n09", []string{"n10", "n02"}},
		}
		for _, r := range []*Registry{one, c.reg["head2"], c.open(t, "head1")} {
			if diff := cmp.Diff(want, r.Duplicates()); diff != "" {
				t.Error(diff)
			}
			if rec, _ := r.ByMAC(mac(1)); rec.Name != "n09" {
				t.Errorf("%s is %s", mac(1), rec.Name)
			}
			why, err := r.Why("n11", time.Now())
			if err != nil || !strings.Contains(why.Verdict, "n11 has the address 10.0.0.77 of n09 as well") {
				t.Errorf("%+v, %v", why.Verdict, err)
			}
		}
		c.settle()
		count := 0
		for _, e := range one.Log().Last(100) {
			if e.Failed {
				count++
			}
		}
		if count != 2 {
			t.Errorf("%d events of 2 duplicates", count)
		}
		if _, err := one.Remove(t.Context(), admin, []string{"n09"}, false); err != nil {
			t.Fatal(err)
		}
		if rec, _ := one.ByMAC(mac(1)); rec.Name != "n10" {
			t.Errorf("after n09 went %s is %s", mac(1), rec.Name)
		}
		if rec, _ := one.ByAddress(ip); rec.Name != "n11" {
			t.Errorf("after n09 went %s is %s", ip, rec.Name)
		}
		if _, err := one.Remove(t.Context(), admin, []string{"n02"}, false); err != nil {
			t.Fatal(err)
		}
		if d := one.Duplicates(); len(d) != 0 {
			t.Errorf("%v", d)
		}
	})
}

// A node that is renamed on another head is never two.
func TestRenameElsewhereIsNoDuplicate(t *testing.T) {
	dirs := []string{t.TempDir(), t.TempDir()}
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, dirs...)
		defer c.stop()
		add(t, c.reg["head1"], "x-525400000001", 1)
		synctest.Wait()
		if _, err := c.reg["head1"].Set(t.Context(), admin, []string{"x-525400000001"}, wire.NodeChange{Name: ptr("n01")}); err != nil {
			t.Fatal(err)
		}
		c.settle()
		for _, e := range c.reg["head2"].Log().Last(100) {
			if e.Failed {
				t.Errorf("%+v", e)
			}
		}
		if got := list(t, c.reg["head2"], ""); !slices.Equal(got, []string{"n01"}) {
			t.Errorf("%v", got)
		}
	})
}

func TestNumbering(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var n numbering
		taken := map[string]bool{}
		pattern := rapid.SampledFrom([]string{"n%02d", "c%d-ib", "%03dx"}).Draw(t, "pattern")
		may := rapid.SampledFrom([]uint64{^uint64(0), 0x5555555555555555, 1 << 9}).Draw(t, "may")
		t.Repeat(map[string]func(*rapid.T){
			"take": func(t *rapid.T) {
				got := n.find(pattern, may, func(name string) bool { return taken[name] })
				want := ""
				for i := 1; want == ""; i++ {
					if name := nodeName(pattern, i); !taken[name] && may&slotBit(name) != 0 {
						want = name
					}
				}
				if got != want {
					t.Fatalf("%s, want %s", got, want)
				}
				taken[got] = true
			},
			"free": func(t *rapid.T) {
				name := nodeName(pattern, rapid.IntRange(1, 40).Draw(t, "n"))
				delete(taken, name)
				n.free(name)
			},
			"other slots": func(t *rapid.T) {
				may = rapid.SampledFrom([]uint64{^uint64(0), 0x5555555555555555}).Draw(t, "may")
			},
		})
	})
	for name, want := range map[string]int{"n07": 7, "n7": 0, "n007": 0, "n123": 123, "n": 0, "m07": 0, "n99999999999999999999": 0, "n-7": 0} {
		if got := numberOf("n%02d", name); got != want {
			t.Errorf("numberOf(%s) = %d, want %d", name, got, want)
		}
	}
	var none numbering
	if got := none.find("n%02d", 0, func(string) bool { return false }); got != "" {
		t.Errorf("with no slot: %s", got)
	}
}

// A head is a node too: its own address is reserved for it, so that it gets it from other heads when it starts again.
func TestHeadReservesItsAddress(t *testing.T) {
	dirs := []string{t.TempDir(), t.TempDir()}
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, dirs...)
		defer c.stop()
		one := c.reg["head1"]
		one.conf.Taken = func(a netip.Addr) (string, bool) { return "head1", a == netip.MustParseAddr("10.0.0.1") }
		c.part("head2") // which may hold the slot: nobody is asked for an address of one's own
		if _, err := one.Add(t.Context(), admin, wire.NodeChange{Name: ptr("head1"), MAC: ptr(mac(1)), Address: ptr("10.0.0.1")}); err != nil {
			t.Fatal(err)
		}
		if rec, ok := one.ByAddress(netip.MustParseAddr("10.0.0.1")); !ok || rec.Name != "head1" {
			t.Errorf("10.0.0.1 is of %+v", rec)
		}
		if _, err := one.Add(t.Context(), admin, wire.NodeChange{Name: ptr("rack-x"), MAC: ptr(mac(2)), Address: ptr("10.0.0.1")}); !errors.Is(err, ErrConflict) {
			t.Errorf("the address of a head for another machine: %v", err)
		}
	})
}
