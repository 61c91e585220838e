package main

import "masthead/appliance/maker"

// bySSH is the way to a server that runs Linux.
var bySSH = way{"ssh", func(m *making) []maker.Step { return nil }}
