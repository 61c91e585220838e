// Package serial is the lab's end of virtual machines' serial ports: consoles that
// are logged, searched and typed into, and null-modem cables between two machines
// that can be cut, garbled and slowed.
//
// A port is a unix socket that QEMU connects to; it survives the machine being
// switched off and on. What the text means is the reader's business.
package serial
