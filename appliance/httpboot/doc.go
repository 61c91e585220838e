// Package httpboot serves what machines load: over the plain port the loaders, boot scripts, kernels and initramfs that
// firmware and iPXE ask for, and over the TLS port the blobs of images. Damaged blobs are noticed here and not served.
//
// Which machine runs which image, and who may ask, is decided elsewhere and asked for through Config.
package httpboot
