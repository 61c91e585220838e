// Package debian makes a root by bootstrapping Debian with mmdebstrap, from the package archives that the machine's own
// apt is configured with.
//
// A bootstrap takes a minute, so its archive is kept in a cache. The key is the digest of all that decides what comes
// out: the suite, the variant, the packages, the epoch, the architecture, the version of mmdebstrap, and for each archive
// its address, components and the digests of its package lists as the signed InRelease gives them. An archive that is
// signed again without a change to its lists keeps the key.
//
// How archives are found and verified is package apt.
package debian
