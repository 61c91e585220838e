package witness

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
	"pgregory.net/rapid"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	key    = []byte("0123456789abcdef0123456789abcdef")
	solo   = time.Date(2026, 3, 1, 12, 0, 0, 5, time.UTC)
	golden = Ask{
		Cluster: Hash("lab"), Kind: Renew, Holder: 1, Epoch: 0x71, TTL: 600 * time.Millisecond, Nonce: 0x0102030405060708,
		Voter: 0x1112131415161718, Roster: 3, Facts: Facts{Gen: 2, Solo: solo, DataUUID: UUID("data")},
	}
	goldenAnswer = Answer{
		Nonce: 0x0102030405060708, Boot: 0x1112131415161718, Granted: false, Reason: Held, Epoch: 0x70, Holder: 0, Left: 250 * time.Millisecond,
		Roster: 3, Remembers: true, Owned: 0x70, Facts: Facts{Gen: 2},
	}
)

// Bytes as they must stay: workers of one version are asked by heads of another.
const (
	askHex = `6d777131 a51146d38077ff99 03 01 0000000000000071 000927c0 0102030405060708 1112131415161718 00000003
		0000000000000002 1898b5d9b3d68005 3a6eb0790f39ac87c94f3856b2dd2c5d`
	answerHex = `6d777231 0102030405060708 1112131415161718 00 03 0000000000000070 00 0003d090 00000003 01 0000000000000070
		0000000000000002 0000000000000000 00000000000000000000000000000000`
)

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.Join(strings.Fields(s), ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestWire(t *testing.T) {
	for _, tt := range []struct {
		name, want string
		got        []byte
		length     int
	}{
		{"ask", askHex, golden.Append(nil, key), AskLen},
		{"answer", answerHex, goldenAnswer.Append(nil, key), AnswerLen},
	} {
		want := unhex(t, tt.want)
		want = append(want, mac(want, key)...)
		if len(tt.got) != tt.length || !bytes.Equal(tt.got, want) {
			t.Errorf("%s: %d bytes\n got %x\nwant %x", tt.name, len(tt.got), tt.got, want)
		}
	}
	ask, err := ParseAsk(golden.Append(nil, key), key)
	if diff := cmp.Diff(golden, ask); diff != "" || err != nil {
		t.Errorf("ask: %v, -want +got:\n%s", err, diff)
	}
	answer, err := ParseAnswer(goldenAnswer.Append(nil, key), key)
	if diff := cmp.Diff(goldenAnswer, answer); diff != "" || err != nil {
		t.Errorf("answer: %v, -want +got:\n%s", err, diff)
	}
	if _, err := ParseAsk(golden.Append(nil, []byte("another key of the same length!!")), key); !errors.Is(err, ErrForged) {
		t.Errorf("another key: %v", err)
	}
	damaged := golden.Append(nil, key)
	for i := range damaged {
		damaged[i] ^= 1
		if _, err := ParseAsk(damaged, key); err == nil {
			t.Errorf("byte %d changed: taken", i)
		}
		damaged[i] ^= 1
	}
}

func FuzzParse(f *testing.F) {
	f.Add(golden.Append(nil, key))
	f.Add(goldenAnswer.Append(nil, key))
	f.Add([]byte(magicAsk))
	f.Fuzz(func(t *testing.T, b []byte) {
		// With the right code at the end, so that what is in it is read too.
		for _, n := range []int{AskLen, AnswerLen} {
			if len(b) >= n-macLen {
				signed := append(bytes.Clone(b[:n-macLen]), mac(b[:n-macLen], key)...)
				if a, err := ParseAsk(signed, key); err == nil && !bytes.Equal(a.Append(nil, key), signed) {
					t.Errorf("ask %x is %+v, which is other bytes", signed, a)
				}
				if a, err := ParseAnswer(signed, key); err == nil && !bytes.Equal(a.Append(nil, key), signed) {
					t.Errorf("answer %x is %+v, which is other bytes", signed, a)
				}
			}
		}
		if a, err := ParseAsk(b, key); err == nil && !bytes.Equal(a.Append(nil, key), b) {
			t.Errorf("%x", b)
		}
		if a, err := ParseAnswer(b, key); err == nil && !bytes.Equal(a.Append(nil, key), b) {
			t.Errorf("%x", b)
		}
	})
}

// step is one ask of a voter, and what it must say.
type step struct {
	at      time.Duration
	ask     Ask
	granted bool
	reason  Reason
}

const boot = 77

func ask(kind Kind, epoch uint64) Ask {
	return Ask{Cluster: 7, Kind: kind, Holder: uint8(epoch % Holders), Epoch: epoch, TTL: 600 * time.Millisecond, Voter: boot}
}

func with(a Ask, change func(*Ask)) Ask {
	change(&a)
	return a
}

func TestVoter(t *testing.T) {
	const ready = 650 * time.Millisecond // a lease and a margin after the start
	for _, tt := range []struct {
		name  string
		steps []step
	}{
		{"abstains after its start", []step{
			{0, ask(Claim, 16), false, Abstains},
			{0, ask(Renew, 16), false, Abstains},
			{0, ask(Query, 0), false, Abstains},
			{ready - 1, ask(Release, 33), true, Abstains}, // it is no vote for anybody
			{ready - 1, ask(Claim, 16), false, Abstains},
			{ready, ask(Claim, 16), true, NotRefused},
		}},
		{"one holder at a time", []step{
			{ready, ask(Claim, 16), true, NotRefused},
			{ready, ask(Claim, 33), false, Held},
			{ready + 649*time.Millisecond, ask(Claim, 33), false, Held},
			{ready + 650*time.Millisecond, ask(Claim, 33), true, NotRefused}, // a lease and a margin after the ask
			{ready + 651*time.Millisecond, ask(Renew, 16), false, OldEpoch},
		}},
		{"a renewal counts from when it came in", []step{
			{ready, ask(Claim, 16), true, NotRefused},
			{ready + 500*time.Millisecond, ask(Renew, 16), true, NotRefused},
			{ready + 1149*time.Millisecond, ask(Claim, 33), false, Held},
			{ready + 1150*time.Millisecond, ask(Claim, 33), true, NotRefused},
		}},
		{"the same claim again is granted again", []step{
			{ready, ask(Claim, 16), true, NotRefused},
			{ready + time.Millisecond, ask(Claim, 16), true, NotRefused},
		}},
		{"nothing below the epoch, even when the lease is over", []step{
			{ready, ask(Claim, 33), true, NotRefused},
			{ready + time.Hour, ask(Claim, 32), false, OldEpoch},
			{ready + time.Hour, ask(Renew, 32), false, OldEpoch},
			{ready + time.Hour, ask(Claim, 33), true, NotRefused},
		}},
		{"a refused claim raises nothing", []step{
			{ready, ask(Claim, 16), true, NotRefused},
			{ready, ask(Claim, 33), false, Held},
			{ready, ask(Renew, 16), true, NotRefused},
		}},
		{"given back", []step{
			{ready, ask(Claim, 16), true, NotRefused},
			{ready, ask(Release, 16), true, NotRefused},
			{ready, ask(Claim, 16), false, OldEpoch}, // for good: it may be late
			{ready, ask(Renew, 16), false, OldEpoch},
			{ready, ask(Claim, 33), true, NotRefused},
		}},
		{"giving back what another has does nothing", []step{
			{ready, ask(Claim, 16), true, NotRefused},
			{ready, ask(Release, 33), true, NotRefused},
			{ready, ask(Claim, 49), false, Held},
			{ready, ask(Claim, 33), false, OldEpoch},
			{ready, ask(Renew, 16), true, NotRefused},
		}},
		{"giving back an old epoch, late", []step{
			{ready, ask(Claim, 32), true, NotRefused},
			{ready, ask(Release, 16), true, NotRefused},
			{ready, ask(Claim, 49), false, Held},
		}},
		{"a voter that forgot learns from a renewal", []step{
			{ready, ask(Renew, 48), true, NotRefused},
			{ready + time.Hour, ask(Claim, 33), false, OldEpoch},
		}},
		{"what was meant for the voter before its restart", []step{
			{ready, with(ask(Claim, 16), func(a *Ask) { a.Voter = 76 }), false, Restarted},
			{ready, with(ask(Release, 16), func(a *Ask) { a.Voter = 0 }), false, Restarted},
			{ready, ask(Claim, 33), true, NotRefused},
		}},
		{"an older generation", []step{
			{ready, with(ask(Renew, 16), func(a *Ask) { a.Facts.Gen = 3 }), true, NotRefused},
			{ready + time.Hour, with(ask(Claim, 33), func(a *Ask) { a.Facts.Gen = 2 }), false, OldGen},
			{ready + time.Hour, with(ask(Claim, 33), func(a *Ask) { a.Facts.Gen = 3 }), true, NotRefused},
		}},
		{"bad", []step{
			{ready, with(ask(Claim, 16), func(a *Ask) { a.Cluster = 8 }), false, BadAsk},
			{ready, with(ask(Claim, 16), func(a *Ask) { a.Holder = 1 }), false, BadAsk},
			{ready, with(ask(Claim, 16), func(a *Ask) { a.Holder = 16 }), false, BadAsk},
			{ready, ask(Claim, 0), false, BadAsk},
			{ready, ask(9, 16), false, BadAsk},
			{ready, with(ask(Claim, 16), func(a *Ask) { a.TTL = 601 * time.Millisecond }), false, BadAsk},
			{ready, with(ask(Claim, 16), func(a *Ask) { a.TTL = 0 }), false, BadAsk},
			{ready, ask(Claim, 33), true, NotRefused},
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			v := NewVoter(VoterConfig{Cluster: 7, Boot: boot, Longest: 600 * time.Millisecond, Margin: 50 * time.Millisecond}, 0)
			for i, s := range tt.steps {
				got := v.Answer(s.ask, s.at)
				if got.Granted != s.granted || got.Reason != s.reason {
					t.Errorf("step %d, %v of %d: granted %v, %v; want %v, %v", i, s.ask.Kind, s.ask.Epoch, got.Granted, got.Reason, s.granted, s.reason)
				}
			}
		})
	}
}

// TestRemembers shows that a voter remembers what an owner has told it, and nothing that somebody only claimed.
func TestRemembers(t *testing.T) {
	const ready = 650 * time.Millisecond
	v := NewVoter(VoterConfig{Cluster: 7, Boot: boot, Longest: 600 * time.Millisecond, Margin: 50 * time.Millisecond}, 0)
	told := Facts{Gen: 1, Solo: solo, DataUUID: UUID("a")}
	if got := v.Answer(with(ask(Renew, 16), func(a *Ask) { a.Facts = told }), time.Millisecond); got.Remembers || got.Granted {
		t.Errorf("while it abstains: %+v", got)
	}
	got := v.Answer(ask(Query, 0), ready)
	if !got.Remembers || got.Owned != 16 || !cmp.Equal(got.Facts, told) {
		t.Errorf("what an owner said meanwhile: %+v", got)
	}
	claimed := with(ask(Claim, 33), func(a *Ask) { a.Facts = Facts{Gen: 1, DataUUID: UUID("b")} })
	if got := v.Answer(claimed, ready); !got.Granted || got.Owned != 16 || !cmp.Equal(got.Facts, told) {
		t.Errorf("after a claim: %+v", got)
	}
	claimed.Kind = Renew
	if got := v.Answer(claimed, ready); got.Owned != 33 || got.Facts.DataUUID != UUID("b") {
		t.Errorf("after the claimant's first renewal: %+v", got)
	}
	fresh := NewVoter(VoterConfig{Cluster: 7, Boot: boot, Longest: 600 * time.Millisecond, Margin: 50 * time.Millisecond}, 0)
	if got := fresh.Answer(with(ask(Claim, 16), func(a *Ask) { a.Facts = told }), ready); got.Remembers {
		t.Errorf("a voter that only heard a claim: %+v", got)
	}
	late := with(ask(Renew, 16), func(a *Ask) { a.Voter, a.Facts = 1, told })
	if got := fresh.Answer(late, ready); got.Remembers {
		t.Errorf("a renewal from before its restart: %+v", got)
	}
}

// TestOneHolder shows that a voter never grants a head anything before what it granted another is over by its own clock.
func TestOneHolder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v := NewVoter(VoterConfig{Cluster: 7, Boot: boot, Longest: time.Second, Margin: 50 * time.Millisecond}, 0)
		now, holder, until, epoch := time.Duration(0), uint8(0), time.Duration(0), uint64(0)
		for range rapid.IntRange(1, 100).Draw(t, "asks") {
			now += time.Duration(rapid.Int64Range(0, int64(400*time.Millisecond)).Draw(t, "pause"))
			a := ask(Kind(rapid.IntRange(1, 4).Draw(t, "kind")), rapid.Uint64Range(1, 100).Draw(t, "epoch"))
			a.TTL = time.Duration(rapid.Int64Range(1, int64(time.Second)).Draw(t, "ttl"))
			got := v.Answer(a, now)
			switch {
			case a.Kind == Release:
				if a.Holder == holder && a.Epoch >= epoch {
					until = now
				}
			case got.Granted && now < 1050*time.Millisecond:
				t.Fatalf("%v after its start: %+v", now, a)
			case got.Granted && a.Holder != holder && now < until:
				t.Fatalf("%v: granted to %d, and %d has it until %v", now, a.Holder, holder, until)
			case got.Granted && a.Epoch < epoch:
				t.Fatalf("%v: epoch %d after %d", now, a.Epoch, epoch)
			case got.Granted:
				holder, until, epoch = a.Holder, now+a.TTL+50*time.Millisecond, a.Epoch
			}
		}
	})
}

func TestServer(t *testing.T) {
	var heard []Ask
	s, err := New(Config{
		Listen: netip.MustParseAddrPort("127.0.0.1:0"), Cluster: "lab", Key: key, Longest: time.Microsecond, Margin: 0,
		Heard: func(a Ask) { heard = append(heard, a) },
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	conn, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(s.Addr()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	// Nothing comes back for these, so the answer that comes is to the last.
	for _, b := range [][]byte{nil, []byte("x"), golden.Append(nil, []byte("another key of the same length!!")), append(golden.Append(nil, key), 0)} {
		if _, err := conn.Write(b); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := conn.Write(golden.Append(nil, key)); err != nil {
		t.Fatal(err)
	}
	in := make([]byte, 1500)
	_ = conn.SetReadDeadline(time.Now().Add(5 * time.Second))
	n, err := conn.Read(in)
	if err != nil {
		t.Fatal(err)
	}
	got, err := ParseAnswer(in[:n], key)
	if err != nil || got.Nonce != golden.Nonce || got.Reason != Restarted || got.Boot == 0 {
		t.Errorf("%+v, %v", got, err)
	}
	if s.Forged() != 4 {
		t.Errorf("%d were not with the key, want 4", s.Forged())
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if diff := cmp.Diff([]Ask{golden}, heard); diff != "" {
		t.Errorf("heard: -want +got:\n%s", diff)
	}
	if _, err := New(Config{Key: key[:5], Longest: 1}); err == nil {
		t.Error("a short key is taken")
	}
}
