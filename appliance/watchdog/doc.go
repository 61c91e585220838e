// Package watchdog holds the timer that resets this machine when the owner's daemon no longer feeds it: because it hangs,
// was killed, or because the kernel has died.
//
// A device of the hardware is taken before the kernel's own timer (softdog), which dies with the kernel. When to feed is
// the caller's decision, and so is when the machine need not be reset: that is the only orderly end.
package watchdog
