// Package tarball reads roots and layers from tar archives: plain or compressed with gzip, xz or zstd, in the v7, ustar,
// GNU and PAX forms, with sparse files, extended attributes (SCHILY.xattr.) and names that are not UTF-8.
//
// An archive that is plain already is read where it is; a compressed one is unpacked once into a file without a name.
// What a container registry is, and which layers make an image, is package oci.
package tarball
