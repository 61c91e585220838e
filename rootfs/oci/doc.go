// Package oci makes a root out of a container image: from a registry, an OCI image layout, or an archive that docker or
// podman has saved.
//
// The layers are applied here, in order, with their whiteouts, as a container runtime applies them. go-containerregistry
// finds, gets and verifies them; its mutate.Extract is not used: it puts the top layer first and drops hard links to
// files of other layers.
package oci
