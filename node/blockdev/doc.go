// Package blockdev knows the block devices of a machine: what there is, who uses them, what lies on them, and which
// partition of which disk is meant. It reads sysfs, /proc and the devices; it changes nothing.
package blockdev
