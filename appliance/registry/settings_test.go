package registry

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"masthead/appliance/state"
	"masthead/node/wire"
)

func TestChangeSettings(t *testing.T) {
	dir := t.TempDir()
	db := openState(t, dir)
	r := newRegistry(t, db)
	fresh := wire.Settings{NamePattern: DefaultNamePattern}
	auto := wire.Settings{AutoApprove: true, NamePattern: DefaultNamePattern}
	full := wire.Settings{AutoApprove: true, NamePattern: "c%d", DefaultImage: "worker"}
	for _, tc := range []struct {
		name   string
		change wire.SettingsChange
		want   wire.SettingsChanged
		stored wire.Settings
	}{
		{"nothing", wire.SettingsChange{}, wire.SettingsChanged{Settings: fresh, Diff: []wire.Difference{}, Applied: true}, fresh},
		{"dry run", wire.SettingsChange{AutoApprove: ptr(true), DryRun: true},
			wire.SettingsChanged{Settings: auto, Diff: []wire.Difference{{Field: "auto-approve", Old: "false", New: "true"}}}, fresh},
		{"one", wire.SettingsChange{AutoApprove: ptr(true)},
			wire.SettingsChanged{Settings: auto, Diff: []wire.Difference{{Field: "auto-approve", Old: "false", New: "true"}}, Applied: true}, auto},
		{"the others", wire.SettingsChange{NamePattern: ptr("c%d"), DefaultImage: ptr("worker")},
			wire.SettingsChanged{Settings: full, Diff: []wire.Difference{
				{Field: "name-pattern", Old: "n%02d", New: "c%d"}, {Field: "default-image", Old: "", New: "worker"},
			}, Applied: true}, full},
		{"the same", wire.SettingsChange{NamePattern: ptr("c%d")}, wire.SettingsChanged{Settings: full, Diff: []wire.Difference{}, Applied: true}, full},
	} {
		got, err := r.ChangeSettings(t.Context(), admin, tc.change)
		if diff := cmp.Diff(tc.want, got); err != nil || diff != "" {
			t.Errorf("%s: %v\n%s", tc.name, err, diff)
		}
		if diff := cmp.Diff(tc.stored, r.Settings()); diff != "" {
			t.Errorf("%s: stored: %s", tc.name, diff)
		}
	}
	err := func() error {
		_, err := r.ChangeSettings(t.Context(), admin, wire.SettingsChange{NamePattern: ptr("x"), DefaultImage: ptr("nosuch"), AutoApprove: ptr(false)})
		return err
	}()
	want := "name-pattern \"x\": want a host name with one number in it, such as n%02d\ndefault-image \"nosuch\": no such image: tag nosuch: not found"
	if !errors.Is(err, ErrInvalid) || err.Error() != want {
		t.Errorf("two mistakes: %v\nwant %s", err, want)
	}
	if last := r.Log().Last(1); len(last) != 1 || last[0].Text != `settings: name-pattern "n%02d" → "c%d", default-image "" → "worker" (admin)` {
		t.Errorf("event: %+v", last)
	}
	db.Close()
	if diff := cmp.Diff(full, newRegistry(t, openState(t, dir)).Settings()); diff != "" {
		t.Error(diff)
	}
}

// Two administrators who change different settings at once both get theirs.
func TestChangeSettingsAtOnce(t *testing.T) {
	r := newRegistry(t, openState(t, t.TempDir()))
	var wg sync.WaitGroup
	for _, c := range []wire.SettingsChange{{AutoApprove: ptr(true)}, {NamePattern: ptr("c%d")}, {DefaultImage: ptr("worker")}} {
		wg.Go(func() {
			if _, err := r.ChangeSettings(context.Background(), admin, c); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if diff := cmp.Diff(wire.Settings{AutoApprove: true, NamePattern: "c%d", DefaultImage: "worker"}, r.Settings()); diff != "" {
		t.Error(diff)
	}
}

// The state's word of an older change may come after the newer one was made.
func TestSettingsTakeOldLate(t *testing.T) {
	s := newSettingsBook()
	for _, v := range []struct {
		value string
		hlc   int
	}{{`"new"`, 2}, {`"old"`, 1}} {
		s.take(state.Record{Key: state.Key{Kind: state.KindSetting, Name: settingDefaultImage}, Value: []byte(v.value), Version: state.Version{HLC: state.HLC(v.hlc)}})
	}
	if s.DefaultImage != "new" {
		t.Errorf("default image %q, want the newer", s.DefaultImage)
	}
}

func TestForwarders(t *testing.T) {
	r := newRegistry(t, openState(t, t.TempDir()))
	r.conf.Taken = func(a netip.Addr) (string, bool) { return "head2", a == netip.MustParseAddr("10.77.0.2") }
	for list, want := range map[string]string{
		"": "", "192.0.2.53": "192.0.2.53", "192.0.2.54, 192.0.2.53,192.0.2.54": "192.0.2.54,192.0.2.53",
		"2001:DB8::53,::ffff:192.0.2.53": "2001:db8::53,192.0.2.53",
	} {
		got, err := r.ChangeSettings(t.Context(), admin, wire.SettingsChange{Forwarders: &list})
		if err != nil || got.Settings.Forwarders != want || r.Settings().Forwarders != want {
			t.Errorf("%q: %q, %v; want %q", list, got.Settings.Forwarders, err, want)
		}
	}
	before := r.Settings()
	for list, say := range map[string]string{
		"dns.example": "not the address", "192.0.2.53:53": "not the address", "0.0.0.0": "not the address", "fe80::1%eth0": "not the address",
		"224.0.0.1": "not the address", "192.0.2.53,10.77.0.2": "is head head2", "1.1.1.1,1.1.1.2,1.1.1.3,1.1.1.4,1.1.1.5,1.1.1.6,1.1.1.7,1.1.1.8,1.1.1.9": "at most 8",
	} {
		_, err := r.ChangeSettings(t.Context(), admin, wire.SettingsChange{Forwarders: &list})
		if !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), say) {
			t.Errorf("%q: %v, want %q", list, err, say)
		}
	}
	if diff := cmp.Diff(before, r.Settings()); diff != "" {
		t.Error(diff)
	}
}
