package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"masthead/node/wire"
)

func (a *app) auditCommand() *cobra.Command {
	var n int
	cmd := &cobra.Command{
		Use: "audit", Short: "Show the last changes of the cluster: who made them, when, where and what", Args: exactArgs(0),
		Long: "Shows the last changes of the cluster, the newest last: when, who from where on which head, and each key with its\n" +
			"old and its new value. A change that was lost, because another head made one at the same time, shows as such.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if n < 1 {
				return usageError{fmt.Errorf("-n %d: want 1 or more", n)}
			}
			c, err := a.remote.client()
			if err != nil {
				return err
			}
			list, err := c.Audit(cmd.Context(), n)
			if err != nil {
				return err
			}
			if a.output == "json" {
				return a.printJSON(list)
			}
			for i := len(list) - 1; i >= 0; i-- {
				a.printAudit(list[i])
			}
			return nil
		},
	}
	cmd.Flags().IntVarP(&n, "number", "n", 20, "how many changes")
	a.outputFlag(cmd)
	return cmd
}

func (a *app) printAudit(e wire.AuditEntry) {
	who := fmt.Sprintf("%s from %s on %s", orDash(e.Who), orDash(e.Where), e.Head)
	if e.Conflict != nil {
		who = fmt.Sprintf("LOST: what %s wrote, for %s wrote at the same time", e.Conflict.Lost.Head, e.Conflict.Kept.Head)
	}
	fmt.Fprintf(a.out, "%s  %s\n", e.Time.Local().Format("2006-01-02 15:04:05"), who)
	if e.Note != "" {
		fmt.Fprintf(a.out, "  %s\n", e.Note)
	}
	for _, c := range e.Changes {
		fmt.Fprintf(a.out, "  %s: %s -> %s\n", c.Key, auditValue(c.Old), auditValue(c.New))
	}
}

// auditValue is a value on one line: of an object its fields, which JSON's marks only make harder to read.
func auditValue(v json.RawMessage) string {
	var fields map[string]json.RawMessage
	if string(v) == "null" {
		return "-"
	}
	if json.Unmarshal(v, &fields) != nil {
		return orDash(strings.Trim(string(v), `"`))
	}
	if len(fields) == 0 {
		return "{}"
	}
	var text []string
	dec := json.NewDecoder(bytes.NewReader(v))
	_, _ = dec.Token()
	for dec.More() { // in the order in which they are kept
		key, err := dec.Token()
		var value json.RawMessage
		if err != nil || dec.Decode(&value) != nil {
			return string(v)
		}
		text = append(text, fmt.Sprintf("%v=%s", key, value))
	}
	return strings.Join(text, " ")
}
