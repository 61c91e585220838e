// Package builder turns a Definition into artifacts: the sealed image in a store, and from it what machines boot from.
//
// Image is the pipeline: root tree ← source, kernel ← package, module closure, initramfs, seal, manifest; each stage
// returns a value for the next. Netboot and ISO write what is handed to firmware; the container formats themselves are
// the packages below (iso, uki), and the loaders that distributions provide are package loader.
package builder
