// Package vmware fences a virtual machine of VMware through vCenter or an ESX host.
//
// The order is PowerOffVM_Task, the proof runtime.powerState poweredOff while runtime.connectionState is connected: of a
// host that it cannot reach vCenter only repeats what it knew last. It also takes the parameters of the scripts for Red
// Hat's cluster (server, vmname, datacenter), so that an old cluster.conf goes on with it.
//
// It speaks the six methods of VMware's SOAP interface that this takes. VMware's own Go client, which knows all types, made
// the program 8 MB larger, and every worker holds it in memory; the tests use that client's simulator.
package vmware
