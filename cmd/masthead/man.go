package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"

	"masthead/builder"
)

func (a *app) manCommand() *cobra.Command {
	return &cobra.Command{
		Use: "man DIR", Short: "Write the manual pages of all commands to a folder", Args: exactArgs(1),
		Example: "  masthead man /usr/local/share/man/man1",
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := os.MkdirAll(args[0], 0o755); err != nil {
				return fmt.Errorf("write the manual pages: %w", err)
			}
			date := builder.DefaultEpoch // the same pages from the same program
			return doc.GenManTree(cmd.Root(), &doc.GenManHeader{Title: "MASTHEAD", Section: "1", Source: "masthead", Date: &date}, args[0])
		},
	}
}
