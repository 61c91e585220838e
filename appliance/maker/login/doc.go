// Package login is a head's way into a server that runs any Linux, by SSH as root: logging in by a key or the password and
// knowing the server again by its host key (Dial); leaving the head's key there, copying this program there and running it,
// fetching the server's own host keys (Server); and starting it by kexec into another kernel, both ends of that (Kexec,
// ReadKexec).
//
// Nobody is asked anything here: the questions are functions of Config. When which of it is done, and what becomes of the
// server, is the caller's to know (cmd).
package login
