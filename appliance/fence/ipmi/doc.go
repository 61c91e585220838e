// Package ipmi fences a server through its management controller by IPMI 2.0 over the network (RMCP+, UDP port 623).
//
// The order is Chassis Control, power down; the proof the power bit of Get Chassis Status (specification 28.2 and 28.3).
package ipmi
