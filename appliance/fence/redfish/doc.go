// Package redfish fences a server through its management controller by DMTF's Redfish (DSP0266).
//
// The order is ComputerSystem.Reset with ForceOff, the proof PowerState Off. PoweringOff is not off.
package redfish
