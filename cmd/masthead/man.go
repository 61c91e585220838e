package main

import (
	"fmt"
	"os"
	"strings"

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
			for all := []*cobra.Command{cmd.Root()}; len(all) > 0; all = all[1:] {
				all[0].Long = manText(all[0].Long)
				all = append(all, all[0].Commands()...)
			}
			date := builder.DefaultEpoch // the same pages from the same program
			// Without a title each page has that of its command.
			return doc.GenManTree(cmd.Root(), &doc.GenManHeader{Section: "1", Source: "masthead", Date: &date}, args[0])
		},
	}
}

// manText is a help text in Markdown, of which the pages are made: what is indented stays as it is.
func manText(help string) string {
	const fence = "```\n"
	var out, block, blank strings.Builder
	end := func() {
		if block.Len() > 0 {
			out.WriteString("\n" + fence + block.String() + fence)
			block.Reset()
		}
		out.WriteString(blank.String())
		blank.Reset()
	}
	for line := range strings.Lines(help) {
		line = strings.TrimSuffix(line, "\n") + "\n"
		switch {
		case line == "\n":
			blank.WriteString(line) // of the block, if it goes on
		case strings.HasPrefix(line, "  "):
			if block.Len() == 0 {
				end()
			}
			block.WriteString(blank.String() + line)
			blank.Reset()
		default:
			if block.Len() > 0 && blank.Len() == 0 {
				blank.WriteString("\n")
			}
			end()
			out.WriteString(line)
		}
	}
	end()
	return out.String()
}
