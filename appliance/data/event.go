package data

import (
	"bufio"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// Event is a line of `drbdsetup events2`: what became of a resource, a connection, a device or a peer's device.
type Event struct {
	Verb   string // exists, create, change, destroy, call, response
	Object string // resource, connection, device, peer-device, helper; "-": all that exists was said
	Keys   map[string]string
}

// ParseEvent reads a line.
func ParseEvent(line string) (Event, error) {
	words := strings.Fields(line)
	// With --timestamps the line begins with one, which has no use here.
	if len(words) > 0 && strings.Contains(words[0], "T") && strings.Count(words[0], ":") >= 2 {
		words = words[1:]
	}
	if len(words) < 2 {
		return Event{}, fmt.Errorf("events of DRBD: %q has no object", line)
	}
	e := Event{Verb: words[0], Object: words[1], Keys: map[string]string{}}
	for _, word := range words[2:] {
		// Values have colons too: local:ipv4:10.77.0.1:7788.
		key, value, ok := strings.Cut(word, ":")
		if !ok || key == "" {
			return Event{}, fmt.Errorf("events of DRBD: %q in %q is no key and value", word, line)
		}
		e.Keys[key] = value
	}
	if e.Object != "-" && e.Keys["name"] == "" {
		return Event{}, fmt.Errorf("events of DRBD: %q names no resource", line)
	}
	return e, nil
}

// maxLine bounds a line: names have at most 127 bytes.
const maxLine = 16 << 10

// readEvents gives each event to tell until the input ends.
func readEvents(r io.Reader, tell func(Event)) error {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, maxLine)
	for lines.Scan() {
		if strings.TrimSpace(lines.Text()) == "" {
			continue
		}
		e, err := ParseEvent(lines.Text())
		if err != nil {
			return err
		}
		tell(e)
	}
	return lines.Err()
}

func number(s string) int64 {
	n, _ := strconv.ParseInt(s, 10, 64) // what is no number is not known: 0
	return n
}
