package vmtest

import (
	"context"
	"time"

	"masthead/vmtest/qemu"
)

// timerPanic is how a Linux guest ends that got no processor while it measured its
// timer (arch/x86/kernel/apic/io_apic.c, check_timer). Hardware does not do that;
// an emulator on a busy host does, and the guest has done nothing wrong.
const timerPanic = `IO-APIC \+ timer doesn't work`

// offPause is the time between two looks at a machine that is off.
const offPause = 500 * time.Millisecond

// restartStarved starts a machine again whose kernel stopped with timerPanic, until
// ctx ends. With a real accelerator there is nothing to do.
func (l *Lab) restartStarved(ctx context.Context, m *Machine) {
	if qemu.HostAccelerator() != qemu.TCG {
		return
	}
	console := m.Console.Reader()
	for ctx.Err() == nil {
		if _, err := console.Expect(ctx, timerPanic); err != nil {
			select { // the machine is off
			case <-ctx.Done():
			case <-time.After(offPause):
			}
			continue
		}
		l.log.Warn("the emulator starved the guest's timer: starting it again", "machine", m.Name)
		if !m.Config.NoReboot {
			if err := m.Reset(ctx); err != nil {
				l.log.Warn("reset", "machine", m.Name, "err", err)
			}
			continue
		}
		// Such a machine ends where it would be reset.
		err := m.PowerCut()
		if err == nil {
			err = m.PowerOn(ctx)
		}
		if err != nil {
			l.log.Warn("power cycle", "machine", m.Name, "err", err)
		}
	}
}
