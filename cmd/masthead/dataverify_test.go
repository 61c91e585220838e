package main

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"masthead/node/wire"
)

// A head that does not answer for a while does not end the look at a comparison, which goes on without it; nor does the look go on
// for ever.
func TestAwaitVerified(t *testing.T) {
	earlier, later := time.Unix(1000, 0), time.Unix(1001, 0) // the heads' clocks, which are not this machine's
	volume := func(head, role, replication string, verified time.Time) wire.DataVolume {
		return wire.DataVolume{Name: "db", Head: head, Role: role, Connection: "Connected", Replication: replication, Size: 1 << 20, Verified: verified}
	}
	differs, parted := volume("head1", "Primary", "Established", later), volume("head1", "Primary", "Off", earlier)
	differs.Differences, parted.Connection = 4096, "StandAlone"
	var (
		standby  = volume("head2", "Secondary", "Established", earlier)
		follows  = volume("head2", "Secondary", "VerifyT", earlier)
		runs     = volume("head1", "Primary", "VerifyS", earlier)
		same     = volume("head1", "Primary", "Established", later)
		forgot   = volume("head1", "Primary", "Established", time.Time{})
		old      = volume("head1", "Primary", "Established", earlier)
		unused   = volume("head1", "Secondary", "VerifyS", earlier)
		silent   = wire.DataVolume{Name: "db", Head: "head1", Role: wire.RoleUnknown, State: "unknown", Trouble: "the head does not answer"}
		noAnswer = errors.New("no answer")
	)
	type answer struct {
		all   []wire.DataVolume
		err   error
		looks int // looks
	}
	say := func(looks int, all ...wire.DataVolume) answer { return answer{all, nil, looks} }
	running := say(5, follows, runs)
	for name, test := range map[string]struct {
		answers []answer // the last one for ever
		out     string
		fail    string
	}{
		"no differences":                {[]answer{running, say(1, standby, same)}, "no differences", ""},
		"it begins after a moment":      {[]answer{say(3, standby, old), running, say(1, standby, same)}, "no differences", ""},
		"differences":                   {[]answer{running, say(1, standby, differs)}, "", "the copies of db differ in 4.0 KiB"},
		"the other head has seen them":  {[]answer{running, say(1, volume("head2", "Secondary", "Established", later), differs)}, "", "differ in 4.0 KiB"},
		"nobody uses the volume":        {[]answer{say(5, follows, unused), say(1, standby, same)}, "no differences", ""},
		"the connection is lost":        {[]answer{running, say(1, standby, parted)}, "", "not connected any more: StandAlone"},
		"no answer for a while":         {[]answer{running, {nil, noAnswer, 50}, say(1, standby, same)}, "no differences", ""},
		"no answer any more":            {[]answer{running, {nil, noAnswer, 1}}, "", "is not known: no answer"},
		"the owner is silent a while":   {[]answer{running, say(50, follows, silent), say(1, standby, same)}, "no differences", ""},
		"the owner is silent":           {[]answer{running, say(1, standby, silent)}, "", "is not known: head1: the head does not answer"},
		"the owner's daemon has forgot": {[]answer{running, say(1, standby, forgot)}, "", "ended without a result"},
		"it never begins":               {[]answer{say(1, standby, old)}, "", "ended without a result"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var out bytes.Buffer
				ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
				defer cancel()
				at, looks := 0, 0
				look := func(context.Context) ([]wire.DataVolume, error) {
					if looks++; looks > test.answers[at].looks && at < len(test.answers)-1 {
						at, looks = at+1, 1
					}
					return test.answers[at].all, test.answers[at].err
				}
				err := (&app{out: &out}).awaitVerified(ctx, look, comparison{"db", []wire.DataVolume{standby, old}})
				if failed := err != nil; failed != (test.fail != "") || failed && !strings.Contains(err.Error(), test.fail) {
					t.Errorf("%v, want %q", err, test.fail)
				}
				if !strings.Contains(out.String(), test.out) {
					t.Errorf("said %q, want %q", out.String(), test.out)
				}
			})
		})
	}
}

// Who presses Ctrl-C is told that nothing else stops.
func TestAwaitVerifiedStopped(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	err := (&app{out: &bytes.Buffer{}}).awaitVerified(ctx, func(ctx context.Context) ([]wire.DataVolume, error) { return nil, ctx.Err() }, comparison{volume: "db"})
	if err == nil || !strings.Contains(err.Error(), "goes on by itself") {
		t.Error(err)
	}
}
