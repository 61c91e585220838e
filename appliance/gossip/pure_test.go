package gossip

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"masthead/appliance/state"
)

var day = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

func TestClockSteps(t *testing.T) {
	base := stepped{day, 0}
	for _, tc := range []struct {
		name  string
		wall  time.Duration // that the wall clock moved
		mono  time.Duration // that passed
		alone bool
		held  time.Duration
	}{
		{"it runs", time.Hour, time.Hour, false, 0},
		{"slewed", time.Hour + 9*time.Second, time.Hour, false, 0},
		{"set forward", 2 * time.Hour, time.Hour, false, time.Hour},
		{"set forward, no other head", 2 * time.Hour, time.Hour, true, 0},
		{"set forward by little more than allowed", 11 * time.Second, 0, false, 11 * time.Second},
		{"set back", -time.Hour, time.Second, false, 0},
	} {
		_, held := base.look(day.Add(tc.wall), tc.mono, tc.alone)
		if held != tc.held {
			t.Errorf("%s: held %v, want %v", tc.name, held, tc.held)
		}
	}
}

func TestClockHoldsAndAgrees(t *testing.T) {
	offset := time.Duration(0)
	c := NewClock(func() time.Time { return time.Now().Add(offset) })
	c.setAlone(false)
	near := func(what string, want time.Duration) {
		t.Helper()
		if got := time.Until(c.Now()); (got - want).Abs() > time.Second {
			t.Errorf("%s: %v from now, want %v", what, got, want)
		}
	}
	near("at first", 0)
	offset = time.Hour
	near("set forward", 0)
	if held := c.Held(); (held - time.Hour).Abs() > time.Second {
		t.Errorf("held %v", held)
	}
	c.agreed()
	near("another head agrees", time.Hour)
	offset = 0
	near("set back", 0)
	offset = 6 * time.Second
	near("two small steps, the first", 6*time.Second)
	offset = 12 * time.Second
	near("two small steps, the second", 0)
}

func TestOffsets(t *testing.T) {
	at := func(ms int) time.Time { return day.Add(time.Duration(ms) * time.Millisecond) }
	// Theirs is 5 s ahead; 10 ms there, 30 ms back, 1 ms of work.
	s := sampleOf(day, at(0), at(5010), at(5011), at(41))
	if want := (sample{day, 4990 * time.Millisecond, 40 * time.Millisecond}); s != want {
		t.Errorf("sample %+v, want %+v", s, want)
	}
	var o offsets
	o = o.add(sample{day, 100 * time.Millisecond, 300 * time.Millisecond})
	o = o.add(sample{day, 20 * time.Millisecond, time.Millisecond})
	if b, _ := o.best(); b.offset != 20*time.Millisecond || len(o) != 2 {
		t.Errorf("best of %v is %v", o, b)
	}
	for range 10 {
		o = o.add(sample{day, 21 * time.Millisecond, 2 * time.Millisecond})
	}
	if len(o) != keepSamples {
		t.Errorf("%d samples kept, want %d", len(o), keepSamples)
	}
	o = o.add(sample{day, time.Hour, 5 * time.Millisecond})
	if b, _ := o.best(); b.offset != time.Hour || len(o) != 1 {
		t.Errorf("after a clock was set: %v", o)
	}
}

func TestAheadOfAll(t *testing.T) {
	for _, tc := range []struct {
		theirs map[string]time.Duration
		ahead  time.Duration // zero: no error
	}{
		{nil, 0},
		{map[string]time.Duration{"b": -10 * time.Second}, 0},
		{map[string]time.Duration{"b": -11 * time.Second}, 11 * time.Second},
		{map[string]time.Duration{"b": -time.Hour, "c": time.Second}, 0},
		{map[string]time.Duration{"b": -time.Hour, "c": -20 * time.Second}, 20 * time.Second},
		{map[string]time.Duration{"b": time.Hour}, 0},
	} {
		err := aheadOfAll(tc.theirs)
		var c *clockError
		if (err != nil) != (tc.ahead != 0) || errors.As(err, &c) && c.by != tc.ahead {
			t.Errorf("%v: %v", tc.theirs, err)
		}
		if err != nil && (!errors.Is(err, state.ErrClockAhead) || c.Try() == "") {
			t.Errorf("%v: it is no ErrClockAhead with advice", err)
		}
	}
}

func stamp(name string, hlc state.HLC, head string) state.Stamp {
	return state.Stamp{Key: state.Key{Kind: state.KindNode, Name: name}, Version: state.Version{Epoch: 1, HLC: hlc, Head: head}, Hash: state.Hash{byte(hlc)}}
}

func TestBehind(t *testing.T) {
	day := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	horizon := state.HLCAt(day)
	for _, tc := range []struct {
		name string
		ours state.Summary
		wall time.Time
		want bool
	}{
		{"right clock", state.Summary{}, day.Add(time.Hour), false},
		{"an hour behind", state.Summary{}, day.Add(-time.Hour), true},
		{"an hour behind, complete", state.Summary{Complete: true}, day.Add(-time.Hour), false},
		{"an hour behind, but it goes on from what it has", state.Summary{Newest: horizon + 1}, day.Add(-time.Hour), false},
		{"just what is forgotten", state.Summary{Newest: horizon}, day.Add(-time.Hour), true},
	} {
		if err := behind(tc.ours, horizon, tc.wall, "b"); (err != nil) != tc.want {
			t.Errorf("%s: %v, want an error: %t", tc.name, err, tc.want)
		}
	}
}

func TestVainWalk(t *testing.T) {
	a, b, c := state.Hash{1}, state.Hash{2}, state.Hash{3}
	noon := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	v := vainWalk{true, a, b, noon}
	for _, tc := range []struct {
		name         string
		v            vainWalk
		ours, theirs state.Hash
		wall         time.Time
		want         bool
	}{
		{"as it was", v, a, b, noon.Add(-time.Second), true},
		{"its time has come", v, a, b, noon, false},
		{"we have something new", v, c, b, noon.Add(-time.Second), false},
		{"they have", v, a, c, noon.Add(-time.Second), false},
		{"we refused nothing", vainWalk{true, a, b, time.Time{}}, a, b, noon, true},
		{"no walk", vainWalk{}, state.Hash{}, state.Hash{}, noon, false},
	} {
		if got := tc.v.holds(tc.ours, tc.theirs, tc.wall); got != tc.want {
			t.Errorf("%s: %t, want %t", tc.name, got, tc.want)
		}
	}
}

func TestCompare(t *testing.T) {
	key := func(names ...string) (keys []state.Key) {
		for _, n := range names {
			keys = append(keys, state.Key{Kind: state.KindNode, Name: n})
		}
		return keys
	}
	twisted := stamp("twisted", 50, "a")
	twisted.Hash[1] = 1
	ours := []state.Stamp{stamp("same", 50, "a"), stamp("older", 50, "a"), stamp("later", 60, "a"), stamp("new", 50, "a"), stamp("ancient", 5, "a"), stamp("twisted", 50, "a")}
	theirs := []state.Stamp{stamp("same", 50, "a"), stamp("older", 51, "b"), stamp("later", 59, "b"), stamp("theirs", 50, "b"), stamp("buried", 5, "b"), twisted}
	for _, tc := range []struct {
		name       string
		our, their side
		want       difference
	}{
		{"nobody forgot", side{}, side{}, difference{pull: key("older", "twisted", "theirs", "buried"), push: key("later", "new", "ancient", "twisted")}},
		{"they forgot", side{}, side{horizon: 10, complete: true}, difference{pull: key("older", "twisted", "theirs", "buried"), push: key("later", "new", "twisted"), drop: []state.Stamp{stamp("ancient", 5, "a")}}},
		{"we forgot", side{horizon: 10, complete: true}, side{}, difference{pull: key("older", "twisted", "theirs"), push: key("later", "new", "ancient", "twisted")}},
		{"they have a horizon, and did not have everything", side{}, side{horizon: 10}, difference{pull: key("older", "twisted", "theirs", "buried"), push: key("later", "new", "ancient", "twisted")}},
	} {
		got := compare(ours, theirs, tc.our, tc.their)
		if diff := cmp.Diff(tc.want, got, cmp.AllowUnexported(difference{})); diff != "" {
			t.Errorf("%s:\n%s", tc.name, diff)
		}
	}
}

func TestCompareLeavesOutTheFuture(t *testing.T) {
	soon, late := stamp("soon", state.HLCAt(day.Add(9*time.Second)), "x"), stamp("late", state.HLCAt(day.Add(11*time.Second)), "x")
	both := []state.Stamp{soon, late}
	now := side{now: day}
	if diff := cmp.Diff(difference{pull: []state.Key{soon.Key}, early: both[1:]}, compare(nil, both, now, side{}), cmp.AllowUnexported(difference{})); diff != "" {
		t.Errorf("theirs:\n%s", diff)
	}
	if diff := cmp.Diff(difference{push: []state.Key{soon.Key}}, compare(both, nil, side{}, now), cmp.AllowUnexported(difference{})); diff != "" {
		t.Errorf("ours:\n%s", diff)
	}
}

// Two heads that do what compare says are equal afterwards, whoever walks first.
func TestCompareMakesEqual(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		draw := func(label string) (map[state.Key]state.Stamp, side) {
			have := map[state.Key]state.Stamp{}
			for _, n := range []string{"a", "b", "c", "d"} {
				if rapid.Bool().Draw(t, label+n) {
					s := stamp(n, state.HLC(rapid.IntRange(1, 9).Draw(t, label+n+" at")), rapid.SampledFrom([]string{"x", "y"}).Draw(t, label+n+" by"))
					have[s.Key] = s
				}
			}
			return have, side{horizon: state.HLC(rapid.IntRange(0, 5).Draw(t, label+" horizon")), complete: rapid.Bool().Draw(t, label+" complete")}
		}
		ours, our := draw("our ")
		theirs, their := draw("their ")
		walk := func(ours, theirs map[state.Key]state.Stamp, our, their side) {
			d := compare(values(ours), values(theirs), our, their)
			for _, k := range d.pull {
				ours[k] = theirs[k]
			}
			for _, k := range d.push {
				// As Merge: a complete head takes nothing that it forgot.
				if _, holds := theirs[k]; holds || !their.forgot(ours[k].Version) {
					theirs[k] = ours[k]
				}
			}
			for _, s := range d.drop {
				delete(ours, s.Key)
			}
		}
		walk(ours, theirs, our, their)
		walk(theirs, ours, their, our)
		if diff := cmp.Diff(ours, theirs); diff != "" {
			t.Fatalf("after a walk of each:\n%s", diff)
		}
	})
}

func values(m map[state.Key]state.Stamp) []state.Stamp {
	var list []state.Stamp
	for _, s := range m {
		list = append(list, s)
	}
	return list
}

func TestHorizonRule(t *testing.T) {
	timing := Timing{HorizonAge: time.Hour, HorizonEvery: 6 * time.Hour}
	newest := state.HLCAt(day.Add(-time.Minute))
	sum := state.Summary{Newest: newest, Complete: true}
	b := sighting{head: "b"}
	c := sighting{head: "c"}
	var h horizonRule
	now := day
	step := func(others ...sighting) (state.HLC, bool) {
		now = now.Add(time.Second)
		return h.step(now, now, "a", sum, others, timing)
	}
	quiet := func(what string, others ...sighting) {
		t.Helper()
		if m, due := step(others...); due {
			t.Errorf("%s: horizon %v", what, m)
		}
	}
	quiet("just started", b, c)
	now = now.Add(6 * time.Hour)
	b.equal, c.equal = now, now
	quiet("m is picked", b, c)
	quiet("nobody was seen since", b, c)
	b.equal = now
	quiet("c was not seen since", b, c)
	c.equal = now
	quiet("phase 1 is over", b, c)
	quiet("phase 2: nobody was seen since", b, c)
	b.equal, c.equal = now.Add(time.Millisecond), now.Add(time.Millisecond)
	m, due := step(b, c)
	if want := min(newest, state.HLCAt(day.Add(5*time.Hour))); !due || m != want {
		t.Errorf("after both phases: %v, %t, want %v", m.Time(), due, want.Time())
	}
	sum.Horizon = m
	quiet("it was just moved", b, c)

	// A head that is configured in between begins it anew.
	sum.Newest = state.HLCAt(now)
	now = now.Add(8 * time.Hour)
	quiet("picked", b)
	b.equal = now
	c.equal = now
	quiet("another head is configured", b, c)
	if h.phase != 1 {
		t.Errorf("phase %d, want it to begin again", h.phase)
	}

	// Another head is first by name; an incomplete head; alone.
	for _, tc := range []struct {
		own      string
		complete bool
		others   []sighting
		want     bool
	}{
		{"b", true, []sighting{{"a", day.Add(100 * time.Hour)}}, false},
		{"a", false, []sighting{{"b", day.Add(100 * time.Hour)}}, false},
		{"a", true, []sighting{{"b", day.Add(100 * time.Hour)}}, true},
		{"a", true, nil, true},
	} {
		var h horizonRule
		s := state.Summary{Newest: newest, Complete: tc.complete}
		got := false
		for i := range 5 {
			_, due := h.step(day.Add(time.Duration(i)*7*time.Hour), day.Add(7*time.Hour), tc.own, s, tc.others, timing)
			got = got || due
		}
		if got != tc.want {
			t.Errorf("%+v: due %t", tc, got)
		}
	}
}

func TestDigestGolden(t *testing.T) {
	d := Digest{Protocol: Protocol, Head: "a", Version: "v1", Summary: state.Summary{
		Root: state.Hash{1, 2, 3}, Newest: 4, Horizon: 5, Complete: true, Records: 6, Seq: 7, Epoch: 8}}
	got, err := decodeDigest(d.encode())
	if diff := cmp.Diff(d, got); err != nil || diff != "" {
		t.Errorf("%v\n%s", err, diff)
	}
	want := "\x01\x01a\x02v1\x01" + "\x00\x00\x00\x00\x00\x00\x00\x08" + "\x00\x00\x00\x00\x00\x00\x00\x07" +
		"\x00\x00\x00\x00\x00\x00\x00\x04" + "\x00\x00\x00\x00\x00\x00\x00\x05" + "\x00\x00\x00\x00\x00\x00\x00\x06"
	if have := string(d.encode()[:len(want)]); have != want {
		t.Errorf("%q, want %q", have, want)
	}
	if d, err := decodeDigest([]byte("\x09\x01b\x03v99what comes then")); !errors.Is(err, errProtocol) || d.Head != "b" || d.Version != "v99" {
		t.Errorf("another protocol: %+v, %v", d, err)
	}
}

func FuzzDigest(f *testing.F) {
	f.Add(Digest{Protocol: Protocol, Head: "head-1", Version: "v1"}.encode())
	f.Add([]byte("\x09\x01b\x03v99"))
	f.Fuzz(func(t *testing.T, data []byte) {
		d, err := decodeDigest(data)
		if err != nil {
			return
		}
		if again := d.encode(); string(again) != string(data) {
			t.Fatalf("%x, again %x", data, again)
		}
	})
}

func TestStampsRoundTrip(t *testing.T) {
	want := []state.Stamp{stamp("n01", 7, "head-1"), stamp("n02", 8, "")}
	got, err := decodeStamps(encodeStamps(want))
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); err != nil || diff != "" {
		t.Errorf("%v\n%s", err, diff)
	}
}

func FuzzStamps(f *testing.F) {
	f.Add(encodeStamps([]state.Stamp{stamp("n01", 7, "head-1"), stamp("n02", 8, "b")}))
	f.Fuzz(func(t *testing.T, data []byte) {
		stamps, err := decodeStamps(data)
		if err == nil && string(encodeStamps(stamps)) != string(data) {
			t.Fatalf("%x, again %x", data, encodeStamps(stamps))
		}
	})
}

// FuzzServe asks a head whatever bytes there are: it answers or refuses, and its state stays as it is but for pushes.
func FuzzServe(f *testing.F) {
	db, err := state.Open(state.Config{Dir: f.TempDir(), Head: "a", ReserveSize: 4096})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { db.Close() })
	apply(f, db, put(f, state.KindNode, "n01", 1))
	conf := Config{Name: "a", DB: db, Peers: func() []Peer { return []Peer{{Name: "b"}} }}
	if err := conf.validate(); err != nil {
		f.Fatal(err)
	}
	r := newReplica(conf)
	questions := []string{callTime, callSummary, callMids, callLeaves, callStamps, callRecords, callPush, "else"}
	for i := range questions {
		f.Add(i, []byte("[1,2]"))
	}
	f.Add(5, []byte(`["node/n01"]`))
	f.Add(0, Digest{Protocol: Protocol, Head: "b"}.encode())
	f.Add(6, state.EncodeBatch(nil))
	f.Fuzz(func(t *testing.T, which int, body []byte) {
		what := questions[uint(which)%uint(len(questions))]
		before := db.Summary().Root
		answer, err := r.serve(t.Context(), "b", what, body)
		if err == nil && answer == nil && what != callStamps && what != callLeaves {
			t.Errorf("%s: neither answer nor error", what)
		}
		if what != callPush && db.Summary().Root != before {
			t.Errorf("%s changed the state", what)
		}
	})
}

func TestBatches(t *testing.T) {
	rec := func(n int) state.Record { return state.Record{Value: make([]byte, n)} }
	for _, tc := range []struct {
		records []state.Record
		want    []int
	}{
		{nil, nil},
		{[]state.Record{rec(1)}, []int{1}},
		{slices.Repeat([]state.Record{rec(1)}, maxRecords+1), []int{maxRecords, 1}},
		{[]state.Record{rec(2 * maxBytes), rec(1), rec(maxBytes - 100), rec(1)}, []int{1, 1, 1, 1}},
	} {
		var got []int
		for _, b := range batches(tc.records) {
			got = append(got, len(b))
		}
		if diff := cmp.Diff(tc.want, got); diff != "" {
			t.Errorf("%d records:\n%s", len(tc.records), diff)
		}
	}
}
