// Package roll decides how nodes are restarted into another image, wave by wave: who is next, how a wave went, and when
// to stop. It restarts nothing: who does (cmd/masthead) tells it what the nodes say and does what it answers, so that a
// roll which was broken off goes on where the nodes are.
package roll
