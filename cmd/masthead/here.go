package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"mvdan.cc/sh/v3/syntax"
)

// hereMark is the annotation of a command that acts on the machine where it is typed.
const hereMark = "masthead/here"

// actsHere marks a command, and all below it. A head that is named on the command line is not what they act on.
func actsHere(cmd *cobra.Command) *cobra.Command {
	cmd.Annotations = map[string]string{hereMark: ""}
	return cmd
}

// isHere reports whether a command is marked, or one that it is below.
func isHere(cmd *cobra.Command) bool {
	for c := cmd; c != nil; c = c.Parent() {
		if _, marked := c.Annotations[hereMark]; marked {
			return !cmd.HasSubCommands() // a group alone shows its help
		}
	}
	return false
}

// stayHere refuses a head that was named for a command that would not go there. One of the environment is for the other
// commands: it is left out of account.
func (r *remote) stayHere(cmd *cobra.Command, args []string) error {
	if !isHere(cmd) {
		return nil
	}
	there := "ssh root@" + r.firstHost() + " " + typed(cmd, args)
	for _, name := range []string{"head", "lab"} {
		if cmd.Flags().Changed(name) {
			return usageError{&hint{fmt.Errorf("%s acts on the machine where it is typed: --%s has no meaning for it", cmd.CommandPath(), name), there}}
		}
	}
	*r = remote{there: there}
	return nil
}

// typed is the command line of a command, without what says which head it is for.
func typed(cmd *cobra.Command, args []string) string {
	words := []string{cmd.CommandPath()}
	elsewhere := pflag.NewFlagSet("", pflag.ContinueOnError)
	new(remote).flags(elsewhere)
	cmd.Flags().Visit(func(f *pflag.Flag) {
		values := []string{f.Value.String()}
		if list, ok := f.Value.(pflag.SliceValue); ok {
			values = list.GetSlice()
		}
		for _, v := range values {
			switch {
			case elsewhere.Lookup(f.Name) != nil:
			case v == f.NoOptDefVal:
				words = append(words, "--"+f.Name)
			case f.NoOptDefVal != "":
				words = append(words, "--"+f.Name+"="+shellWord(v))
			default:
				words = append(words, "--"+f.Name, shellWord(v))
			}
		}
	})
	for _, arg := range args {
		words = append(words, shellWord(arg))
	}
	return strings.Join(words, " ")
}

// shellWord is a word as it is typed to a shell.
func shellWord(word string) string {
	quoted, err := syntax.Quote(word, syntax.LangPOSIX)
	if err != nil {
		return "…" // it has what no shell of POSIX can be told
	}
	return quoted
}
