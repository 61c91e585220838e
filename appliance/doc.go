// Package appliance is a head node: it wires the services of the packages below it (dhcp, tftp, httpboot, registry,
// state, pki) into one program and serves the HTTP API.
//
// The services do not know one another. What one tells another goes through here: an address that DHCP gave becomes an
// event of the node, a node of the registry becomes a reservation for DHCP, an image of the store becomes a boot script.
package appliance
