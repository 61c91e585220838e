// Package registry knows the machines of a cluster: what they are called and shall run (kept in the state), and how
// they are (kept in memory, from what they report and what the head sees of them). It decides what a machine is told
// when it says hello, checks every change to a node before it is made, and explains why a machine did not boot.
//
// Decisions are functions of their arguments, the time among them; Registry is the one place with locks and effects.
// HTTP, tokens and DHCP packets are elsewhere: package appliance connects them.
package registry
