// Package tools is the user land of an image without a distribution: a shell and the commands that a person needs on
// a console to see why a machine does not boot. They live in the masthead binary and run when it is called by one of
// their names, as in busybox; the builder lays a link for each of Names.
//
// File commands and gzip are u-root's, the shell language is mvdan.cc/sh, and the rest, which u-root keeps in main
// packages, is written here as small as it can be. The shell has no job control. What has a better home does not
// belong here: nothing in masthead calls these tools to do its work.
package tools
