// Package simulation plays whole clusters of heads under random faults and checks after each step that failover.Decide kept
// its promises: one open gate, one writer of the data, one owner for each epoch, an owner in time or a person who is told.
//
// Nothing is real here: the clocks (each with its drift, stopped while its machine is paused), the network (a matrix of
// paths in each direction), disks (two slots, power cuts at any point), the kernel's gate, watchdogs, services, replicated
// data (what DRBD's kernel makes of it), fencing devices, witnesses and the consensus of three heads or more. Only Decide, the
// witnesses' voter and what package data makes of a copy are the ones that run in production. A run is a function of its scenario and one number, the seed: what fails once can be
// played again, is shrunk to the faults that matter, and is told as a story.
//
// What is not simulated: a daemon that is stopped between its look at the clock and the kernel's timer (Timing.Margin has
// the time between them), forged frames, the order of services (package service has tests of its own), and the neighbours'
// caches. Rounds of the consensus and questions to voters are one instant each; what is lost or late of them fails.
package simulation
