package console

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Stage is the attribute that names what speaks. It comes before the message, as the kernel's drivers do it.
const Stage = "stage"

// Handler prints records as one line each, beside the kernel's and with the kernel's time:
//
//	masthead[ 3.214] network: eth0 10.77.0.11/24 by dhcp
//
// Attributes other than Stage follow as key=value.
type Handler struct {
	dst   io.Writer
	level slog.Leveler
	since func() time.Duration
	stage string
	attrs string // formatted, each with a space before it
	group string // "a.b."
}

// NewHandler writes to dst what is at least level. since is the time since the kernel started; nil asks the kernel.
func NewHandler(dst io.Writer, level slog.Leveler, since func() time.Duration) *Handler {
	if since == nil {
		since = SinceBoot
	}
	return &Handler{dst: dst, level: level, since: since}
}

// SinceBoot is the time since the kernel started, suspended or not. It does not jump when the clock is set.
func SinceBoot() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		return 0
	}
	return time.Duration(ts.Nano())
}

// Enabled is part of slog.Handler.
func (h *Handler) Enabled(_ context.Context, l slog.Level) bool {
	return h.level == nil || l >= h.level.Level()
}

// Handle is part of slog.Handler.
func (h *Handler) Handle(_ context.Context, r slog.Record) error {
	var b bytes.Buffer
	fmt.Fprintf(&b, "masthead[%6.3f] ", h.since().Seconds())
	stage, attrs := h.stage, strings.Builder{}
	r.Attrs(func(a slog.Attr) bool {
		format(&attrs, &stage, h.group, a)
		return true
	})
	if stage != "" {
		b.WriteString(stage + ": ")
	}
	switch {
	case r.Level >= slog.LevelError:
		b.WriteString("error: ")
	case r.Level >= slog.LevelWarn:
		b.WriteString("warning: ")
	}
	b.WriteString(oneLine(r.Message))
	b.WriteString(h.attrs)
	b.WriteString(attrs.String())
	b.WriteByte('\n')
	_, err := h.dst.Write(b.Bytes())
	return err
}

// WithAttrs is part of slog.Handler.
func (h *Handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	n := *h
	var b strings.Builder
	for _, a := range attrs {
		format(&b, &n.stage, h.group, a)
	}
	n.attrs += b.String()
	return &n
}

// WithGroup is part of slog.Handler.
func (h *Handler) WithGroup(name string) slog.Handler {
	n := *h
	if name != "" {
		n.group += name + "."
	}
	return &n
}

func format(b *strings.Builder, stage *string, group string, a slog.Attr) {
	v := a.Value.Resolve()
	switch {
	case a.Equal(slog.Attr{}):
	case v.Kind() == slog.KindGroup:
		if a.Key != "" {
			group += a.Key + "."
		}
		for _, m := range v.Group() {
			format(b, stage, group, m)
		}
	case a.Key == Stage && group == "":
		*stage = oneLine(v.String())
	default:
		b.WriteString(" " + group + a.Key + "=" + quote(v))
	}
}

func quote(v slog.Value) string {
	s := v.String()
	if v.Kind() == slog.KindDuration {
		s = v.Duration().Round(time.Millisecond).String()
	}
	if s == "" || strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r == '"' || r == '=' || r == 0x7f }) {
		return strconv.Quote(s)
	}
	return s
}

// oneLine keeps a message, which may carry text from the network, from painting the terminal.
func oneLine(s string) string {
	clean := func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}
	return strings.Map(clean, strings.TrimRight(s, "\n"))
}
