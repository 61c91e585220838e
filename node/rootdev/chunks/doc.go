// Package chunks turns the chunks of a sealed root, wherever they are kept, into bytes of a block device.
//
// A Source gives stored chunks and promises nothing about them. Sources chooses among several, verifies what comes,
// leaves a source that dies, lies, stalls or comes up short for another, and waits when none is left. A Reader
// decodes, caches and prefetches. What happens to the bytes then (a kernel device, a process of its own) is package
// rootdev's.
package chunks
