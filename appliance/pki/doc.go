// Package pki holds the secrets of a head: the cluster's certificate authority, the head's own key and certificate that it
// signs, the keys of boot tokens, and the administrator's token. Each is a file of mode 0600 in one folder; none is ever
// logged or put into an error.
//
// How a machine pins the authority is node/wire; who may do what is package appliance.
package pki
