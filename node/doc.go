// Package node is PID 1 of every machine, head or worker: the way from the kernel's first process to the root's own
// init, and, in a minimal image, PID 1 for good.
//
// The way is a table of stages (see Init.stages): mounts, modules, medium, network, hello, root, handover. Each is
// timed, shown on the console and reported to the head, so that a boot that failed explains itself. What a stage needs
// from the kernel lives in the packages below this one: kmod, netif, rootdev, console, tools. What is said to the
// head is node/wire. The agent, which goes on after the root's init has taken over, is node/agent.
package node
