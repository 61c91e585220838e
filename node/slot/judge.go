package slot

import "masthead/images/disk"

// Standing is how the slot that a machine runs from stands.
type Standing string

const (
	Good Standing = "good"
	// OnTrial is the first start of a new image: found healthy it becomes the good one, else GRUB starts the other again.
	OnTrial Standing = "on trial"
	// FellBack is the good slot after the other one was tried and did not come up healthy.
	FellBack Standing = "fell back"
	// Chosen is a slot that somebody has picked in GRUB's menu: it is neither tried nor the one that starts by itself.
	Chosen Standing = "chosen by hand"
)

// Judge tells how the slot stands that the machine runs from, by what GRUB left. Pure.
func Judge(env disk.Env, running disk.Slot) Standing {
	switch {
	case env.Tried == running && env.Slot != running:
		return OnTrial
	case env.Slot != running:
		return Chosen
	case env.Tried != "" && env.Tried != running:
		return FellBack
	}
	return Good
}

// MarkGood is the block after a slot was found healthy.
func MarkGood(running disk.Slot) disk.Env { return disk.Env{Slot: running} }

// Try is the block that has GRUB start a slot once.
func Try(env disk.Env, which disk.Slot) disk.Env { return disk.Env{Slot: env.Slot, Try: which} }

// Settle is the block after a fall back was told: what was tried stays away until somebody tries it again.
func Settle(env disk.Env) disk.Env { return disk.Env{Slot: env.Slot, Try: env.Try} }
