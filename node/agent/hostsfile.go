package agent

// WriteHosts puts a HostsBlock into a hosts file, in the place of the one that is there, and leaves all other lines. It
// reports whether there was anything to change. On nodes the agent does this by itself; heads do it with their own list.
func WriteHosts(path, block string) (changed bool, err error) {
	return edit(path, 0o644, func(text string) string { return withBlock(text, block) })
}

// WithoutBlock is a hosts file without our lines, for an image of this machine: another has others.
func WithoutBlock(text string) string {
	before, _, after := splitHosts(text)
	return before + after
}
