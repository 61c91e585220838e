// Package wire is what machines say to one another: the paths, the JSON documents and the pinned TLS of the HTTP API
// between init, the agent, the head and the command line. It decides nothing.
package wire

// Paths of the HTTP API. Those below Plain are served without TLS, to firmware; all others only with it.
const (
	PlainBoot   = "/boot/" // Plain: loaders by name, script, and ID/vmlinuz, ID/initramfs
	PlainScript = "/boot/script"

	PathHello    = "/api/v1/hello"    // POST Hello → Spec; no credentials: this is where a machine gets them
	PathReport   = "/api/v1/report"   // POST Report; boot token
	PathStatus   = "/api/v1/status"   // GET Status; administrator
	PathNodes    = "/api/v1/nodes"    // GET []Node, POST NodeChange; administrator
	PathNode     = "/api/v1/nodes/"   // NAME: GET, PATCH NodeChange, DELETE; NAME/why: GET Why; administrator
	PathSettings = "/api/v1/settings" // GET Settings, PATCH SettingsChange; administrator
	PathImages   = "/api/v1/images"   // GET []Image; administrator
	PathEvents   = "/api/v1/events"   // GET, SSE of Event; administrator
	PathOpenAPI  = "/api/v1/openapi.json"
	PathBlob     = "/api/v1/blobs/" // DIGEST: GET; boot token or administrator
)

// Ports of a head.
const (
	PortHTTP   = 80   // plain, for firmware
	PortHTTPS  = 443  // the API, and the other heads
	PortGossip = 7946 // membership of the heads, TCP and UDP (memberlist's own)
)
