// Package carry takes what was written over the root of one image along to the next: the files of the administrator, and the
// packages that were installed on this machine. It is the answer to what "apt install lasts" means when the image below is
// replaced.
//
// Choose decides for each package whose version stays, Decide for each file whether it is carried; both are pure. Apply
// does it, into an upper layer that nothing is mounted from yet.
package carry
