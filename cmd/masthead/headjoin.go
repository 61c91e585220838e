package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"masthead/node/wire"
)

func (a *app) headTokenCommand() *cobra.Command {
	var out string
	cmd := &cobra.Command{
		Use: "token", Short: "Make a token with which one machine can join as a head", Args: exactArgs(0),
		Long: "Makes a token with which one machine can join the cluster as a head, once, within ten minutes. It is a secret:\n" +
			"whoever has it gets the keys of the cluster.",
		Example: "  masthead head token --out /root/join-token\n  masthead head token | ssh head2 'umask 077; cat > /root/join-token'",
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.remote.client()
			if err != nil {
				return err
			}
			token, err := c.HeadToken(cmd.Context())
			if err != nil {
				return err
			}
			if a.output == "json" {
				return a.printJSON(token)
			}
			if out != "" {
				// O_EXCL: a file that somebody else has put there keeps its mode and its owner.
				f, err := os.OpenFile(out, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
				if err != nil {
					return fmt.Errorf("write the token: %w", err)
				}
				_, err = fmt.Fprintln(f, token.Token)
				if err = errors.Join(err, f.Close()); err != nil {
					return fmt.Errorf("write the token: %w", err)
				}
			} else {
				fmt.Fprintln(a.out, token.Token)
			}
			fmt.Fprintf(a.err, "valid until %s, for one machine; there: masthead head join --token-file FILE\n", token.Expires.Local().Format("15:04:05"))
			return nil
		},
	}
	cmd.Flags().StringVar(&out, "out", "", "write it to a new file of mode 0600 instead")
	a.outputFlag(cmd)
	return cmd
}

func (a *app) headJoinCommand() *cobra.Command {
	var s wire.JoinStart
	var file string
	cmd := &cobra.Command{
		Use: "join [ADDRESS]", Short: "Make this head one of another cluster", Args: rangeArgs(0, 1),
		Long: "Makes this head one of the cluster that the token is for. ADDRESS is that of one of its heads; without it those\n" +
			"in the token are asked. The token comes from a file or is asked for.\n\n" +
			"What this head has of its own, its nodes and images, it gives up: only with --discard, and only after its\n" +
			"state was saved to a file.",
		Example: "  masthead head join 10.77.0.1 --token-file /root/join-token\n  masthead head join --dry-run",
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.remote.client()
			if err != nil {
				return &hint{err, "masthead head run; it has to run for joining"}
			}
			if len(args) == 1 {
				s.Address = args[0]
			} else if file == "" && terminalIn(a.in) {
				if s.Address, err = a.askLine("Address of a head of the cluster (empty: as the token says): "); err != nil {
					return err
				}
			}
			if s.Token, err = a.joinToken(file); err != nil {
				return err
			}
			began, err := c.JoinHead(cmd.Context(), s)
			if err != nil {
				return err
			}
			if a.output == "json" && s.DryRun {
				return a.printJSON(began)
			}
			if s.DryRun {
				fmt.Fprintf(a.out, "head %s would join\n", began.Name)
				for _, what := range began.GiveUp {
					fmt.Fprintf(a.out, "  gives up %s\n", what)
				}
				return nil
			}
			end, err := a.followMembership(cmd.Context(), c, began.Name, wire.MemberHead)
			if err != nil {
				return err
			}
			if a.output == "json" {
				return a.printJSON(end)
			}
			fmt.Fprintf(a.out, "head %s has joined the cluster\n", end.Name)
			if len(end.Heads) > 0 {
				fmt.Fprintf(a.out, "its heads: %s\n", strings.Join(end.Heads, ", "))
			}
			if began.Export != "" {
				fmt.Fprintf(a.out, "what it had before is in %s\n", began.Export)
			}
			return nil
		},
	}
	// It hides the flag of the same name, which is for other machines' heads: this command is for the one that runs here.
	cmd.Flags().StringVar(&file, "token-file", "", "file with the join token; - is the standard input")
	cmd.Flags().BoolVar(&s.Discard, "discard", false, "give up the nodes and images that this head has of its own")
	cmd.Flags().BoolVar(&s.DryRun, "dry-run", false, "check everything with the cluster, and change nothing")
	a.outputFlag(cmd)
	return cmd
}

// maxToken is more than any token has.
const maxToken = 8 << 10

// joinToken reads the token from a file, or asks for it without showing it.
func (a *app) joinToken(file string) (string, error) {
	if file == "-" {
		data, err := io.ReadAll(io.LimitReader(a.in, maxToken))
		if err != nil {
			return "", fmt.Errorf("read the join token: %w", err)
		}
		return strings.TrimSpace(string(data)), nil
	}
	if file != "" {
		f, err := os.Open(file)
		if err != nil {
			return "", &hint{fmt.Errorf("read the join token: %w", err), "masthead head token on a head of the cluster"}
		}
		defer f.Close()
		data, err := io.ReadAll(io.LimitReader(f, maxToken))
		if err != nil {
			return "", fmt.Errorf("read the join token: %w", err)
		}
		return strings.TrimSpace(string(data)), nil
	}
	if !terminalIn(a.in) {
		return "", &hint{errors.New("no join token"), "--token-file FILE; masthead head token on a head of the cluster makes one"}
	}
	token, err := a.askHidden("Join token, from 'masthead head token' on a head of the cluster (not shown): ")
	return strings.TrimSpace(token), err
}

// followEvery is how often a change of the heads is looked at: it takes seconds.
const followEvery = 250 * time.Millisecond

// followMembership shows how a change of this head's cluster goes on, until it has come to the state that was wanted.
// The head goes on by itself, whether somebody looks on or not; it does not answer while it starts again.
func (a *app) followMembership(ctx context.Context, c *wire.Client, name, want string) (wire.Membership, error) {
	show := stepLine{out: a.err, tty: terminal(a.err)}
	defer show.end()
	for {
		now, err := c.Membership(ctx)
		if errors.Is(err, wire.ErrNotPinned) {
			// From another machine: the head has the keys of its new cluster by now.
			show.end()
			fmt.Fprintf(a.err, "head %s has other keys now: from here on --ca and --token-file have to be those of its new cluster\n", name)
			return wire.Membership{Name: name, State: want}, nil
		}
		if err == nil {
			switch {
			case now.State == want:
				return now, nil
			case now.Reason != "":
				show.say("waits: " + now.Reason)
				if now.State != wire.MemberJoining && now.State != wire.MemberLeaving {
					return now, &hint{errors.New(now.Reason), now.Try}
				}
			case now.Total > 0:
				show.say(fmt.Sprintf("%s: %d of %d", now.Step, now.Done, now.Total))
			case now.Step != "":
				show.say(now.Step)
			}
		}
		select {
		case <-ctx.Done():
			return wire.Membership{}, &hint{errors.New("stopped looking on; the head goes on by itself"), "masthead head list"}
		case <-time.After(followEvery):
		}
	}
}

// stepLine shows what is done at the moment: in one line where a person looks on, line by line elsewhere.
type stepLine struct {
	out  io.Writer
	tty  bool
	last string
}

func (s *stepLine) say(text string) {
	if text == s.last {
		return
	}
	s.last = text
	if s.tty {
		fmt.Fprintf(s.out, "\r\033[K%s", text)
		return
	}
	fmt.Fprintln(s.out, text)
}

func (s *stepLine) end() {
	if s.tty && s.last != "" {
		fmt.Fprint(s.out, "\r\033[K")
	}
}
