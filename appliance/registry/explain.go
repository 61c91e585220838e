package registry

import (
	"fmt"
	"time"

	"masthead/node/wire"
)

// Story is all that is known of a machine's last boot.
type Story struct {
	Node   wire.Node
	Stages []wire.StageResult // in their order
	Events []wire.Event       // the oldest first
	Image  error              // not nil: why its image cannot be found
	Now    time.Time

	DeadHead string // its parent, if it is down for that reason
	Twin     string // another node that keeps what this one has too
	Shared   string // which is that
}

func (s Story) silent() time.Duration { return s.Now.Sub(s.Node.Seen).Round(time.Second) }

func (s Story) last() wire.StageResult {
	r, _ := Boot{Stages: s.Stages}.last()
	return r
}

// after reports whether name is the furthest stage, and it is over.
func (s Story) after(name wire.Stage) bool {
	r := s.last()
	return r.Stage == name && r.Outcome == wire.OutcomeDone
}

// trouble is the newest event of some kinds that says what went wrong.
func (s Story) trouble(kinds ...string) (wire.Event, bool) {
	for i := len(s.Events) - 1; i >= 0; i-- {
		for _, k := range kinds {
			if e := s.Events[i]; e.Kind == k && e.Failed {
				return e, true
			}
		}
	}
	return wire.Event{}, false
}

// cause is one known reason why a machine is not up. The first of the table that fits is the verdict.
type cause struct {
	name    string
	fits    func(Story) bool
	verdict func(Story) string
	try     func(Story) string
}

func say(format string) func(Story) string {
	return func(s Story) string { return fmt.Sprintf(format, s.Node.Name) }
}

func nothing(Story) string { return "" }

// Explain says in one sentence why a machine is as it is, and what to do about it.
func Explain(s Story) (verdict, try string) {
	for _, c := range causes() {
		if c.fits(s) {
			return c.verdict(s), c.try(s)
		}
	}
	last := s.last()
	return fmt.Sprintf("%s is at stage %s; the last word came %v ago", s.Node.Name, last.Stage, s.silent()), ""
}

func causes() []cause {
	return []cause{
		// Before all others: it is another machine that was refused, while the one that has the name is up and well.
		{
			"refused",
			func(s Story) bool { e, ok := s.trouble("hello"); return ok && s.Now.Sub(e.Time) < StalledAfter },
			func(s Story) string { e, _ := s.trouble("hello"); return s.Node.Name + " " + e.Text },
			say("give one of the two machines another MAC address, then masthead node show %s"),
		},
		{
			"a duplicate",
			func(s Story) bool { return s.Twin != "" },
			func(s Story) string {
				return fmt.Sprintf("%s has the %s of %s as well, which keeps it: two heads that could not see each other both gave it away", s.Node.Name, s.Shared, s.Twin)
			},
			func(s Story) string {
				return fmt.Sprintf("masthead node set %s --address or --mac another one, or masthead node rm %s", s.Node.Name, s.Node.Name)
			},
		},
		{
			"its head is dead",
			func(s Story) bool { return s.DeadHead != "" },
			func(s Story) string { return s.Node.Name + ": " + orphaned(s.DeadHead) },
			say("check that %s reaches another head (masthead head list); if it runs, it comes back by itself"),
		},
		{
			"its root has no source",
			func(s Story) bool { return s.Node.RootState != nil && s.Node.RootState.Waiting > 0 },
			func(s Story) string {
				return fmt.Sprintf("%s runs, but reads of its root have waited for %.0f s: no head answers it", s.Node.Name, s.Node.RootState.Waiting)
			},
			say("check that the HTTPS port of a head is reachable from %s; it goes on by itself"),
		},
		{
			"up",
			func(s Story) bool { return s.Node.Phase == wire.PhaseUp },
			func(s Story) string {
				v := fmt.Sprintf("%s is up, %.1f s after its kernel started", s.Node.Name, s.Node.BootedIn)
				if r := s.Node.RootState; r != nil && r.Errors > 0 {
					v += fmt.Sprintf("; %d fetches of its root failed or did not verify and were repeated", r.Errors)
				}
				return v
			},
			nothing,
		},
		{
			"down",
			func(s Story) bool { return s.Node.Phase == wire.PhaseDown },
			func(s Story) string {
				return fmt.Sprintf("%s was up and has been silent for %v: it is off, cut off, or hangs", s.Node.Name, s.silent())
			},
			say("look at the console and the link of %s, or switch it off and on"),
		},
		{
			"never seen",
			func(s Story) bool { return len(s.Stages) == 0 && s.Node.Seen.IsZero() },
			func(s Story) string {
				return fmt.Sprintf("no DHCP request of %s (%s) was ever seen", s.Node.Name, s.Node.MAC)
			},
			func(s Story) string {
				return fmt.Sprintf("switch it on; check its cable, that it boots from the network, and that %s is the NIC that it boots from", s.Node.MAC)
			},
		},
		{
			"a stage failed",
			func(s Story) bool { return s.last().Outcome == wire.OutcomeFailed },
			func(s Story) string {
				r := s.last()
				v := fmt.Sprintf("%s failed at stage %s", s.Node.Name, r.Stage)
				if r.Cause != "" {
					v += ": " + r.Cause
				}
				return v
			},
			func(s Story) string {
				if try := s.last().Try; try != "" {
					return try
				}
				return stageTry(s.last().Stage)
			},
		},
		{
			"not approved",
			func(s Story) bool { return !s.Node.Approved },
			say("%s waits for approval"),
			say("masthead node approve %s"),
		},
		{
			"no image",
			func(s Story) bool { return s.Image != nil },
			func(s Story) string {
				return fmt.Sprintf("there is no image for %s: %v", s.Node.Name, s.Image)
			},
			say("masthead image list, then masthead node set %s --image TAG"),
		},
		{
			"DHCP trouble",
			func(s Story) bool {
				_, bad := s.trouble("dhcp")
				return bad && (len(s.Stages) == 0 || s.after(wire.StageDHCP))
			},
			func(s Story) string { e, _ := s.trouble("dhcp"); return s.Node.Name + ": DHCP: " + e.Text },
			func(Story) string { return stageTry(wire.StageDHCP) },
		},
		{
			"TFTP trouble",
			func(s Story) bool { _, bad := s.trouble("tftp"); return bad && s.after(wire.StageDHCP) },
			func(s Story) string { e, _ := s.trouble("tftp"); return s.Node.Name + ": TFTP: " + e.Text },
			func(Story) string { return stageTry(wire.StageTFTP) },
		},
		{
			"HTTP trouble",
			func(s Story) bool {
				_, bad := s.trouble("http")
				return bad && (s.after(wire.StageTFTP) || s.after(wire.StageScript) || s.after(wire.StageKernel))
			},
			func(s Story) string { e, _ := s.trouble("http"); return s.Node.Name + ": HTTP: " + e.Text },
			func(Story) string { return stageTry(wire.StageKernel) },
		},
		stalled(wire.StageDHCP, "got an address %v ago, and asked for no loader since", wire.StageTFTP),
		stalled(wire.StageTFTP, "fetched its first loader %v ago, and the loader asked for no script since", wire.StageScript),
		stalled(wire.StageScript, "fetched its boot script %v ago, and no kernel since", wire.StageKernel),
		stalled(wire.StageKernel, "fetched its kernel %v ago, and no initramfs since", wire.StageInitramfs),
		stalled(wire.StageInitramfs, "was given kernel and initramfs, and has said no hello for %v", wire.StageHello),
		{
			"stalled",
			func(s Story) bool { return s.Node.Phase == wire.PhaseFailed },
			func(s Story) string {
				return fmt.Sprintf("%s has been silent for %v, after stage %s", s.Node.Name, s.silent(), s.last().Stage)
			},
			func(s Story) string {
				next := order(s.last().Stage) + 1
				return stageTry(wire.Stages()[min(next, len(wire.Stages())-1)])
			},
		},
		{
			"booting",
			func(s Story) bool { return s.Node.Phase == wire.PhaseBooting },
			func(s Story) string {
				return fmt.Sprintf("%s boots: stage %s, heard of %v ago", s.Node.Name, s.last().Stage, s.silent())
			},
			nothing,
		},
	}
}

// stalledStep is how long a machine may take from one stage that the head sees to the next before it is called
// stalled: a slow firmware needs some seconds for any of them.
const stalledStep = 30 * time.Second

// stalled is a machine whose furthest stage was over a while ago; next is the stage that should have followed.
func stalled(after wire.Stage, format string, next wire.Stage) cause {
	return cause{
		"stalled after " + string(after),
		func(s Story) bool { return s.after(after) && s.silent() >= stalledStep },
		func(s Story) string { return s.Node.Name + " " + fmt.Sprintf(format, s.silent()) },
		func(Story) string { return stageTry(next) },
	}
}

// stageTry is what helps when a stage does not come about.
func stageTry(s wire.Stage) string {
	switch s {
	case wire.StageDHCP:
		return "check the pool and the reservations (masthead status), and that no other DHCP server answers on this network"
	case wire.StageTFTP:
		return "check that no firewall stops UDP port 69 and the ports above 1023, and that no other DHCP server named another boot file"
	case wire.StageScript:
		return "check that no firewall stops TCP port 80 of the head; if the loader's own driver fails, let the machine boot by UEFI HTTP or from a stick"
	case wire.StageKernel, wire.StageInitramfs:
		return "check the image (masthead image list), and that the machine has memory for kernel and initramfs; its console shows the loader's error"
	case wire.StageHello:
		return "look at its console: with no word from the kernel add console=ttyS0 to its cmdline; with a word, the driver of its NIC may be missing in the image (masthead.rescue gives a shell)"
	case wire.StageModules, wire.StageNetwork:
		return "the driver of its NIC may be missing in the image: masthead node show NAME lists the hardware; masthead.rescue in its cmdline gives a shell"
	case wire.StageMedium:
		return "write the medium again"
	case wire.StageRoot:
		return "check that the HTTPS port of the head is reachable, and the image: masthead image list"
	}
	return "look at its console; masthead.rescue in its cmdline gives a shell"
}
