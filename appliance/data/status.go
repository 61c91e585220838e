package data

import (
	"cmp"
	"time"

	"masthead/node/wire"
)

// Volumes are the copies of this head for people.
func (s *Set) Volumes() (all []wire.DataVolume) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, v := range s.volumes {
		c := v.look.Copy
		out := wire.DataVolume{
			Name: v.Name, Head: s.cfg.Self, State: v.look.Reading(s.view).String(), Role: s.role(v), Connection: c.Connection, Disk: c.Disk,
			Replication: c.Replication, Peer: s.view.Peer.Name, PeerRole: c.PeerRole, PeerDisk: c.PeerDisk, Frozen: c.Frozen(),
			Size: c.Size << 10, OutOfSync: c.OutOfSync << 10, Generation: v.uuid, Verified: v.verified, Differences: v.differences << 10,
			Device: v.lower(s.cfg.Self), Filesystem: v.filesystem(), Folders: v.Folders, SnapshotsBy: v.snapshotsBy(),
			Trouble: cmp.Or(v.trouble, s.trouble, v.pool),
		}
		switch {
		case !s.ready:
			out.State, out.Doing = "unknown", "DRBD has not said yet how it stands"
		case v.step != Wait:
			out.Doing = v.step.String()
			if v.why != "" {
				out.Doing += ": " + v.why
			}
		default:
			out.Doing = v.why
		}
		if s.ready && c.There && v.look.writes() && !c.Connected() { // else the word is not about this copy
			out.Word = s.view.Word.How
		}
		if c.Syncing() {
			out.Done, out.Rate, out.Remaining = v.pace.done(), v.pace.rate*(1<<10), v.pace.remaining().Round(time.Second).Seconds()
			if c.Done >= 0 {
				out.Done = max(out.Done, c.Done)
			}
		}
		all = append(all, out)
	}
	return all
}

// role is the copy's for people. The caller holds mu.
func (s *Set) role(v *volume) string {
	c := v.look.Copy
	switch {
	case s.ready:
		return c.Role
	case !s.cfg.Tools.InKernel(v.minor):
		return "" // as on a head without DRBD: nobody writes to a device that is not there
	case c.Role == primary:
		return primary // it was, and nothing has said that it ended
	}
	return wire.RoleUnknown
}

// Self is the head whose copies these are.
func (s *Set) Self() string { return s.cfg.Self }
