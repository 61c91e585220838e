package main

import (
	"slices"

	"github.com/spf13/cobra"

	"masthead/images"
)

// What a shell completes comes from the head. What cannot be found out is not completed, and never with names of files.

// completeNodes completes the first argument, a node or a set of nodes.
func (a *app) completeNodes(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	c, err := a.remote.client()
	if err != nil || len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	nodes, err := c.BriefNodes(cmd.Context(), "")
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	names := []string{"@all", "needs-reboot=true"}
	for _, n := range nodes {
		names = append(names, n.Name)
		for _, g := range n.Groups {
			names = append(names, "@"+g)
		}
	}
	slices.Sort(names)
	return slices.Compact(names), cobra.ShellCompDirectiveNoFileComp
}

// completeTags completes each of the first most arguments, and the values of flags, with the tags of the cluster's images
// that fit.
func (a *app) completeTags(most int, fit func(images.Role) bool) func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	return func(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		c, err := a.remote.client()
		if err != nil || len(args) >= most {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		list, err := c.Images(cmd.Context())
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		var names []string
		for _, i := range list {
			if fit(i.Role) {
				names = append(names, i.Tag)
			}
		}
		return names, cobra.ShellCompDirectiveNoFileComp
	}
}

// forWorkers and forAnyMachine are what tags are completed with.
func forWorkers(r images.Role) bool  { return r == images.RoleWorker }
func forAnyMachine(images.Role) bool { return true }
