// Package arbiter asks those who have a vote whether this head may own the cluster, and for how long. It gives
// failover.Authority, and knows nothing of addresses, services or data; what to ask for is failover.Decide's to say.
//
// There are two: Panel, for two heads and workers as witnesses, and Raft, for three heads or more. With one head, or with two
// and nobody else to ask, Decide needs none.
//
// # Panel
//
// Votes are {A, B, P}: the two heads have one each, and P is what most of a fixed panel of witnesses says. A lease needs two
// of three, one of which may be the head's own. Each elementary vote (a head's, a witness's) is a witness.Voter: it grants a
// lease to one head at a time, also its own head's vote, which is no use to it while the other head has it.
//
// Any two quorums have an elementary vote in common: {A, B} and {A, P} share A, {A, P} and {B, P} share a witness, since two
// majorities of one panel do. So two heads have a lease at once only if one voter has granted both, which it does not do
// before the first is over by its own clock. Its clock says so later than the holder's: the voter counts from when the ask
// came in and adds Timing.Margin, the holder counts from when it sent it and takes Timing.Margin off. A composite vote is no
// more than its witnesses: it ends when the last of the best majority of them ends, and the lease when the lower of the two
// best votes does. A voter that has restarted grants nothing for the longest lease and a margin.
//
// A lease is had in two steps. With Claim a quorum grants it; with Renew the same quorum is told what the owner is, and only
// when it has answered that is the lease held. So a quorum remembers each owner from before it first acted, and whoever
// claims after it has died hears of it: Authority.Vouches. See Lease, which is pure, and Lease.Memory.
//
// Lists of voters are changed without an interruption; how that is safe is said at rosters and Lease.Ripe.
//
// # Raft
//
// The record of the owner is the state machine of hashicorp/raft. The owner is the leader; its epoch counts the claims that
// were committed, above all that was known before. It has the lease while most heads have promised to elect no other: see
// guard for what raft itself does not promise, and Raft.extend. Elections are not left to chance: see elect.
//
// # From one to the other
//
// Epochs go up whatever the arbiter is. From pair or panel to raft: the present owner, and only it, calls Bootstrap with its
// epoch, and is a cluster of one that keeps its ownership by claiming the next epoch; the others start with an empty folder.
// Raft.SetVoters on all heads then adds them. Back: Raft.SetVoters with two heads; when the owner's Raft.Votes is "2 of 2", it
// gives back what it holds, all end Raft.Run, and go on with Raft.Ownership().Epoch as what is known. Forget removes what raft
// has written, so that nothing of it comes back when the arbiter is changed again.
package arbiter
