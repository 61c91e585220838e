// Package apt reads a machine's own package sources and gets verified packages from the archives that they name.
//
// It knows where packages come from (sources.list and deb822 .sources files, keyrings, proxies) and how to trust them:
// the signature of InRelease, the SHA-256 of Packages, the SHA-256 of the package. It installs nothing and resolves no
// dependencies; that is apt's own work, or mmdebstrap's. No mirror is named in the code.
package apt
