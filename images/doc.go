// Package images says what an image IS: the Definition that an administrator writes, the Manifest that a build
// yields, the chunks and blobs that a Manifest names, the Store and the Pack that hold them, and the words that
// builder and node agree on (kernel command-line keys, guest paths).
//
// Every other room imports this one and it imports none of them. How a root tree is made is rootfs; how a machine
// boots an image is node.
package images
