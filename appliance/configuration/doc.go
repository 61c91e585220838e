// Package configuration is the one document that says how a cluster is owned and what follows its owner: virtual
// addresses, heartbeats, arbiter, fences, services, monitors. It is changed in one place, has a version that counts the
// changes, and is the same on every head (it lies in the replicated state).
//
// The package reads and checks documents, and tells how two of them differ. What a document means is decided elsewhere.
package configuration
