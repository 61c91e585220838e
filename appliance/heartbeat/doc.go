// Package heartbeat tells the other heads twenty times a second how this one stands, on every network card and every
// serial cable between them, and notes what they tell.
//
// It counts and reports; it decides nothing. Which silence matters is package failover's business: here a link has only
// a time at which it was last heard. Frames are authenticated and of a fixed size, so that one fits a serial line of
// 115200 baud in 7 ms.
package heartbeat
