package service

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Metadata is what a resource agent says about itself (its action meta-data).
type Metadata struct {
	Name    string
	Version string
	Short   string // one line
	Params  []Param
	Actions []Action
}

// Param is a parameter of an agent.
type Param struct {
	Name     string
	Short    string
	Type     string
	Default  string
	Required bool
}

// Action is what an agent can do, with the least timeout that it advises.
type Action struct {
	Name     string
	Timeout  time.Duration
	Interval time.Duration
	Depth    int
}

// metadataMost bounds what is read: the longest of Debian's agents has 40 KiB.
const metadataMost = 1 << 20

// ParseMetadata reads the XML of the action meta-data (OCF's ra-api-1.dtd).
func ParseMetadata(data []byte) (Metadata, error) {
	var doc struct {
		XMLName xml.Name `xml:"resource-agent"`
		Name    string   `xml:"name,attr"`
		Version string   `xml:"version,attr"`
		Short   string   `xml:"shortdesc"`
		Params  []struct {
			Name     string `xml:"name,attr"`
			Required string `xml:"required,attr"`
			Short    string `xml:"shortdesc"`
			Content  struct {
				Type    string `xml:"type,attr"`
				Default string `xml:"default,attr"`
			} `xml:"content"`
		} `xml:"parameters>parameter"`
		Actions []struct {
			Name     string `xml:"name,attr"`
			Timeout  string `xml:"timeout,attr"`
			Interval string `xml:"interval,attr"`
			Depth    string `xml:"depth,attr"`
		} `xml:"actions>action"`
	}
	if len(data) > metadataMost {
		return Metadata{}, fmt.Errorf("%d bytes of XML: more than %d", len(data), metadataMost)
	}
	d := xml.NewDecoder(bytes.NewReader(data))
	// Agents are ASCII or UTF-8, whatever they declare.
	d.CharsetReader = func(_ string, r io.Reader) (io.Reader, error) { return r, nil }
	if err := d.Decode(&doc); err != nil {
		return Metadata{}, fmt.Errorf("read the XML: %w", err)
	}
	m := Metadata{Name: doc.Name, Version: doc.Version, Short: oneLine(doc.Short)}
	for _, p := range doc.Params {
		if p.Name == "" {
			return Metadata{}, errors.New("a parameter without a name")
		}
		m.Params = append(m.Params, Param{Name: p.Name, Short: oneLine(p.Short), Type: p.Content.Type, Default: p.Content.Default, Required: p.Required == "1" || p.Required == "true"})
	}
	for _, a := range doc.Actions {
		act := Action{Name: a.Name, Timeout: ocfTime(a.Timeout), Interval: ocfTime(a.Interval)}
		act.Depth, _ = strconv.Atoi(a.Depth) // none: 0
		m.Actions = append(m.Actions, act)
	}
	return m, nil
}

func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }

// ocfTime reads 20, 20s, 2000ms, 5min; 0: none, or not understood.
func ocfTime(s string) time.Duration {
	s = strings.ToLower(strings.TrimSpace(s))
	digits := strings.IndexFunc(s, func(r rune) bool { return (r < '0' || r > '9') && r != '.' })
	if digits < 0 {
		digits = len(s)
	}
	units := map[string]time.Duration{"": time.Second, "s": time.Second, "sec": time.Second, "ms": time.Millisecond, "msec": time.Millisecond,
		"us": time.Microsecond, "usec": time.Microsecond, "m": time.Minute, "min": time.Minute, "h": time.Hour, "hr": time.Hour}
	n, err := strconv.ParseFloat(s[:digits], 64)
	unit, ok := units[strings.TrimSpace(s[digits:])]
	if err != nil || !ok || n > float64(24*time.Hour/unit) {
		return 0
	}
	return time.Duration(n * float64(unit))
}

// advised fills in what a resource leaves open from what its agent advises: the longer of that and our defaults, since the
// advice is for the least.
func (m Metadata) advised(r Resource) Resource {
	for _, a := range m.Actions {
		var field *time.Duration
		def := DefaultCheck
		switch a.Name {
		case "start":
			field, def = &r.StartTimeout, DefaultStart
		case "stop":
			field, def = &r.StopTimeout, DefaultStop
		case "monitor":
			if a.Depth != r.OCF.Depth {
				continue
			}
			field = &r.CheckTimeout
			if r.Interval == 0 && a.Interval > 0 {
				r.Interval = a.Interval
			}
		default:
			continue
		}
		if *field == 0 {
			*field = max(a.Timeout, def)
		}
	}
	return r
}

// objections are what is wrong with the parameters of a resource, as far as its agent says.
func (m Metadata) objections(r Resource) (list []string) {
	for _, p := range m.Params {
		if _, ok := r.OCF.Params[p.Name]; !ok && p.Required {
			list = append(list, "the parameter "+p.Name+" is missing: "+p.Short)
		}
	}
	for name := range r.OCF.Params {
		known := slices.ContainsFunc(m.Params, func(p Param) bool { return p.Name == name })
		if !known && !strings.HasPrefix(name, "CRM_meta_") && name != "trace_ra" && name != "trace_file" {
			list = append(list, "it has no parameter "+name)
		}
	}
	slices.Sort(list)
	return list
}
