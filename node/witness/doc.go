// Package witness is a vote in the question of which head owns the cluster: a machine that can be asked for a lease and
// grants it to one head at a time. Workers run it, so that two heads which do not hear one another cannot both be right;
// each head runs one as well, and its own vote is as any other.
//
// Voter decides; it is pure, and takes the time as an argument. Server puts it on the network. A vote lives in memory only:
// after a restart it abstains for the longest lease that it may have granted, and says that it remembers nothing. How votes
// are counted is not here, but in package arbiter of the heads.
package witness
