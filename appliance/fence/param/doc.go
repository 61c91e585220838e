// Package param reads the parameters of fence devices: names and texts, as an administrator writes them and as
// cluster.conf has them, into values that are known, complete and of the right kind.
package param
