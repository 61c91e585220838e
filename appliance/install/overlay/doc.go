// Package overlay takes what was written over the root of one machine to another, as a tar archive: whiteouts, opaque
// folders, owners and times arrive as they were. Upper finds it, Write packs it, Read unpacks it below a root that runs the
// same image.
//
// Nothing is decided here: what stays at home is the caller's to say (package maker), and what becomes of it over another
// image is package carry's.
package overlay
