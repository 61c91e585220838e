// Package heads runs masthead's owner daemon on the machines of an arena: two heads or more with a serial cable, witnesses
// beside them, and the faults that they may meet. It says what it does to them and what they say of themselves; who answers
// for the virtual address is the prober's to say.
package heads
