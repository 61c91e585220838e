package failover

import "strings"

func (d *decider) summary(words ...string) { d.out.Why.Summary = join(words) }

func (d *decider) yes(words ...string) { d.out.Why.For = append(d.out.Why.For, join(words)) }

func (d *decider) no(words ...string) { d.out.Why.Against = append(d.out.Why.Against, join(words)) }

func (d *decider) try(command string) { d.out.Why.Try = command }

func (d *decider) event(bad, mail bool, words ...string) {
	d.out.Events = append(d.out.Events, Event{Text: d.v.Self.Name + ": " + join(words), Bad: bad, Mail: mail})
}

func join(words []string) string {
	if len(words) == 1 {
		return words[0]
	}
	return strings.Join(words, "")
}

// under is " under epoch e", or nothing.
func under(e Epoch) string {
	if e == 0 {
		return ""
	}
	return " under epoch " + e.String()
}

// bracket is " (s)", or nothing.
func bracket(s string) string {
	if s == "" {
		return ""
	}
	return " (" + s + ")"
}
