// Package maker is how a head makes another machine its equal: what it must know of that machine (Target), the decision
// what becomes of it (NewPlan, pure), the way there as a table of steps that can be undone (Run), and the note of how far it
// has come (Journal).
//
// What the steps do, over SSH, by the agent of a diskless machine, and by the head's API, is not here (cmd). The way into a
// server by SSH is package login's, how a disk is filled package install's.
package maker
