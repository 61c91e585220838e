// Package fetch gets blobs that are missing on a head from the other heads (seed 000, "Shared Storage and Peer
// Downloads"). The other heads are asked in random order; what comes is checked against its size while it comes and
// against its digest before its last byte is given to anybody, and is stored. A head that is asked gives what lies with
// it and asks nobody else (Handler), so that a blob that nobody has does not make all heads ask one another.
//
// Which blobs are wanted is not known here, and neither is where they are kept: both are functions of Config.
package fetch
