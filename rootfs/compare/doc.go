// Package compare says how two images differ: in what boots them, in the packages that are installed in their roots, and
// in their files. It reads the roots out of a store, chunk by chunk, and nothing of them that both images share.
package compare
