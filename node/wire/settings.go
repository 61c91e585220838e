package wire

// Settings are what the administrator decides for all nodes.
type Settings struct {
	AutoApprove  bool   `json:"auto_approve"`  // unknown machines become nodes by themselves
	NamePattern  string `json:"name_pattern"`  // of the names that they get: one %d, with a width if wanted
	DefaultImage string `json:"default_image"` // of nodes that name none; empty: the only worker image that is there
	Forwarders   string `json:"forwarders"`    // resolvers that the heads ask, addresses with commas; empty: those of each head's machine
}

// SettingsChange asks for a change of the settings. Nil fields stay as they are.
type SettingsChange struct {
	AutoApprove  *bool   `json:"auto_approve,omitempty"`
	NamePattern  *string `json:"name_pattern,omitempty"`
	DefaultImage *string `json:"default_image,omitempty"` // "" takes it away
	Forwarders   *string `json:"forwarders,omitempty"`    // "" takes them away
	DryRun       bool    `json:"dry_run,omitempty"`
}

// SettingsChanged is the answer to a change: the settings after it, what differs, and whether it was done.
type SettingsChanged struct {
	Settings Settings     `json:"settings"`
	Diff     []Difference `json:"diff"`
	Applied  bool         `json:"applied"`
	// Degraded, if not empty, is why no other head has what was written yet.
	Degraded string `json:"degraded,omitempty"`
}
