// Package capture reads the root of the machine that it runs on, as a tree for other machines: what was installed stays,
// who the machine is and what it keeps secret stays out.
//
// What is left out stands in one table, Rules. What is mounted below the root is not seen at all: the tree is read
// through a mount of the root's file system alone, so that neither /proc nor a data volume nor a folder that is bound over
// another comes along. The machine goes on meanwhile, and a file that changes while it is read is an error that the caller
// answers by reading again (Config.Before).
package capture
