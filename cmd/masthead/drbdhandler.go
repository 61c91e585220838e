package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/spf13/cobra"

	"masthead/appliance/data"
	"masthead/images"
	"masthead/node/wire"
)

// The kernel's DRBD calls its usermode_helper with the name of an event and the resource. It heeds the exit code of
// fence-peer alone (data.Answer), and freezes writes until that ends.

const (
	// handlerPause is the time between two questions to a daemon that does not answer: it may be starting.
	handlerPause = 100 * time.Millisecond
	// tellWait bounds what needs no answer. The snapshot before a resync is made meanwhile.
	tellWait = 10 * time.Second
)

// drbdHandler is the process that the kernel starts. Nobody reads what it prints; the kernel's log has the exit code.
func drbdHandler(args []string) int {
	if len(args) != 2 {
		return exitUsage
	}
	log := slog.New(slog.DiscardHandler)
	if f, err := os.OpenFile("/dev/kmsg", os.O_WRONLY, 0); err == nil {
		defer f.Close()
		log = slog.New(slog.NewTextHandler(f, nil))
	}
	return answerDRBD(context.Background(), wire.NewUnixClient(images.OwnerSocket), wire.DataAsk{Handler: args[0], Resource: args[1]}, log)
}

// answerDRBD asks the owner daemon until it has an answer.
func answerDRBD(ctx context.Context, owner *wire.Client, q wire.DataAsk, log *slog.Logger) int {
	if q.Handler != "fence-peer" {
		ctx, cancel := context.WithTimeout(ctx, tellWait)
		defer cancel()
		if _, err := owner.AskData(ctx, q); err != nil {
			log.Warn("masthead drbd-handler", "handler", q.Handler, "resource", q.Resource, "err", err)
		}
		return 0 // anything else would end the connection (before-resync-target)
	}
	for {
		a, err := owner.AskData(ctx, q)
		switch {
		case err == nil && !a.Again:
			log.Info("masthead drbd-handler", "handler", q.Handler, "resource", q.Resource, "code", a.Code, "why", a.Why)
			return a.Code
		case ctx.Err() != nil:
			return data.ExitUnknown
		case err == nil:
			continue
		}
		select {
		case <-ctx.Done():
		case <-time.After(handlerPause):
		}
	}
}

func (a *app) drbdHandlerCommand() *cobra.Command {
	return &cobra.Command{
		Use: "drbd-handler EVENT RESOURCE", Short: "Answer DRBD, which calls this program by the name " + images.DRBDHandler, Args: exactArgs(2), Hidden: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			code := answerDRBD(cmd.Context(), wire.NewUnixClient(images.OwnerSocket), wire.DataAsk{Handler: args[0], Resource: args[1]}, a.log)
			_, err := fmt.Fprintln(a.out, code)
			return err
		},
	}
}
