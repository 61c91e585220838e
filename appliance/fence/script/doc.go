// Package script fences with the programs of ClusterLabs' fence-agents, and with older ones that follow the same protocol
// (FenceAgentAPI.md of fence-agents): parameters as name=value lines on the standard input, the action among them, exit
// code 0 for done or on, 2 for a status that is off, anything else for a failure.
//
// The action is called action; older programs call it option, or operation. Nothing is ever given on a command line, where
// every user could read it.
package script
