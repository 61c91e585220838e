package main

import (
	"fmt"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"masthead/node/wire"
)

func (a *app) fenceAgentsCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "agents", Short: "List the ways to switch machines off that a head has", Args: exactArgs(0),
		Long: "Lists what fence devices can be made of: the drivers of masthead, and the programs of fence-agents that the head has.\n" +
			"`masthead fence show AGENT` tells what one of them takes.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.remote.client()
			if err != nil {
				return err
			}
			names, err := c.FenceAgents(cmd.Context())
			if err != nil {
				return err
			}
			if a.output == "json" {
				return a.printJSON(names)
			}
			fmt.Fprintln(a.out, strings.Join(names, "\n"))
			return nil
		},
	}
	a.outputFlag(cmd)
	return cmd
}

func (a *app) fenceShowCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "show AGENT", Short: "Show what a fence agent is and which parameters it takes", Args: exactArgs(1),
		Example: "  masthead fence show redfish\n  masthead fence show fence_apc",
		ValidArgsFunction: func(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			c, err := a.remote.client()
			if err != nil || len(args) > 0 {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			names, _ := c.FenceAgents(cmd.Context()) // what cannot be found out is not completed
			return names, cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.remote.client()
			if err != nil {
				return err
			}
			agent, err := c.FenceAgent(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			if a.output == "json" {
				return a.printJSON(agent)
			}
			return a.printAgent(agent)
		},
	}
	a.outputFlag(cmd)
	return cmd
}

func (a *app) printAgent(agent wire.FenceAgent) error {
	fmt.Fprintf(a.out, "%s: %s\n", agent.Name, orDash(agent.Summary))
	if agent.Path != "" {
		fmt.Fprintf(a.out, "program: %s\n", agent.Path)
	}
	if agent.Unfit != "" {
		fmt.Fprintf(a.out, "CANNOT BE USED: %s\n", agent.Unfit)
	}
	if agent.Text != "" {
		fmt.Fprintf(a.out, "\n%s\n", strings.TrimSpace(agent.Text))
	}
	if len(agent.Params) == 0 {
		return nil
	}
	w := tabwriter.NewWriter(a.out, 0, 8, 2, ' ', 0)
	heading(w, "Parameter", "Default", "Meaning")
	for _, p := range agent.Params {
		var notes []string
		if p.Required {
			notes = append(notes, "required")
		}
		if p.Secret {
			notes = append(notes, "as secret:NAME")
		}
		if len(p.Aliases) > 0 {
			notes = append(notes, "also "+strings.Join(p.Aliases, ", "))
		}
		text := strings.Join(strings.Fields(p.Text), " ")
		if len(notes) > 0 {
			text = strings.TrimSpace(text + " (" + strings.Join(notes, "; ") + ")")
		}
		fmt.Fprintf(w, " %s\t%s\t%s\n", p.Name, orDash(p.Default), text)
	}
	return w.Flush()
}
