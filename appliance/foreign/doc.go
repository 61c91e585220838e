// Package foreign reads the configurations of older clusters and makes ours of them: Red Hat's cluster.conf (cman and
// rgmanager), Heartbeat's ha.cf and haresources, and mon's mon.cf.
//
// For each line of a file it says whether it was understood, and what became of it. Nothing is left out without a word: what
// has no counterpart here is a Line that was not understood, with what to do instead. Nothing is read but the bytes given.
package foreign
