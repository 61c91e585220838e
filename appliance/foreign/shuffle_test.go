package foreign

import (
	"encoding/xml"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// pool is the lines of some examples, and their words.
func pool(t testing.TB, names ...string) (lines, words []string) {
	for _, name := range names {
		for line := range strings.SplitSeq(string(read(t, name)), "\n") {
			lines = append(lines, line)
			words = append(words, strings.Fields(line)...)
		}
	}
	return lines, append(words, "", "-", "0", "-1", "99999999999999999999", "1e9", "::", "//", "a:b", "''", `"`, "ü", "-p", "|", "x{", "secret:")
}

// shuffled draws a file of the lines of the pool, mostly in their order, with words exchanged for others of it: what people
// get wrong.
func shuffled(t *rapid.T, lines, words []string) []byte {
	var b strings.Builder
	at := 0
	for range rapid.IntRange(0, 60).Draw(t, "lines") {
		if rapid.IntRange(0, 9).Draw(t, "jump") == 0 {
			at = rapid.IntRange(0, len(lines)-1).Draw(t, "line")
		}
		fields := strings.Fields(lines[at%len(lines)])
		at++
		if len(fields) > 0 && rapid.IntRange(0, 3).Draw(t, "change") == 0 {
			fields[rapid.IntRange(0, len(fields)-1).Draw(t, "at")] = rapid.SampledFrom(words).Draw(t, "word")
		}
		fmt.Fprintln(&b, strings.Join(fields, " "))
	}
	return []byte(b.String())
}

// quiet has a rapid test fail where whole does.
type quiet struct {
	testing.TB
	t *rapid.T
}

func (q quiet) Helper()                   {}
func (q quiet) Errorf(f string, a ...any) { q.t.Fatalf(f, a...) }
func (q quiet) Fatal(a ...any)            { q.t.Fatal(a...) }

func TestShuffledMon(t *testing.T) {
	lines, words := pool(t, "seed004.mon.cf", "example.mon.cf")
	rapid.Check(t, func(rt *rapid.T) {
		data := shuffled(rt, lines, words)
		r, err := Mon(data)
		if err != nil {
			rt.Fatal(err)
		}
		whole(quiet{t, rt}, r, "mon.cf", data, hashComment)
	})
}

func TestShuffledHeartbeat(t *testing.T) {
	lines, words := pool(t, "seed004-heartbeat.ha.cf", "linuxha.ha.cf")
	resources, more := pool(t, "seed004-heartbeat.haresources", "linuxha.haresources")
	rapid.Check(t, func(rt *rapid.T) {
		hacf, haresources := shuffled(rt, lines, words), shuffled(rt, resources, append(more, words...))
		r, err := Heartbeat(hacf, haresources)
		if err != nil {
			rt.Fatal(err)
		}
		whole(quiet{t, rt}, r, "ha.cf", hacf, hashComment)
		whole(quiet{t, rt}, r, "haresources", haresources, hashComment)
	})
}

func TestShuffledClusterConf(t *testing.T) {
	tags := regexp.MustCompile(`<(\w+)`)
	attributes := regexp.MustCompile(`(\w+)="([^"]*)"`)
	var names, keys, values []string
	for _, name := range []string{"seed001-skeleton", "seed001-esx", "rhel"} {
		text := string(read(t, name+".cluster.conf"))
		for _, m := range tags.FindAllStringSubmatch(text, -1) {
			names = append(names, m[1])
		}
		for _, m := range attributes.FindAllStringSubmatch(text, -1) {
			keys, values = append(keys, m[1]), append(values, m[2])
		}
	}
	keys = append(keys, "name", "name", "ref", "ref", "address", "device", "agent")
	values = append(values, "", "0", "-1", "99999999999", "10.1.4.1/33", "/", "a b", "ü", "../x", "secret:x")
	var element func(t *rapid.T, b *strings.Builder, name string, depth int)
	element = func(t *rapid.T, b *strings.Builder, name string, depth int) {
		fmt.Fprintf(b, "<%s", name)
		var given []string
		for range rapid.IntRange(0, 4).Draw(t, "attributes") {
			key := rapid.SampledFrom(keys).Draw(t, "key")
			if slices.Contains(given, key) {
				continue
			}
			given = append(given, key)
			fmt.Fprintf(b, "%s%s=\"", rapid.SampledFrom([]string{" ", "\n"}).Draw(t, "space"), key)
			xml.EscapeText(b, []byte(rapid.SampledFrom(values).Draw(t, "value")))
			b.WriteString("\"")
		}
		b.WriteString(">\n")
		for range rapid.IntRange(0, max(0, 4-depth)).Draw(t, "children") {
			element(t, b, rapid.SampledFrom(names).Draw(t, "name"), depth+1)
		}
		fmt.Fprintf(b, "</%s>\n", name)
	}
	rapid.Check(t, func(rt *rapid.T) {
		var b strings.Builder
		b.WriteString("<cluster>\n<fencedevices>")
		element(rt, &b, "fencedevice", 3)
		element(rt, &b, "fencedevice", 3)
		b.WriteString("</fencedevices>\n<clusternodes>")
		element(rt, &b, "clusternode", 0)
		element(rt, &b, "clusternode", 0)
		b.WriteString("</clusternodes>\n<rm><resources>")
		element(rt, &b, rapid.SampledFrom(names).Draw(rt, "name"), 3)
		b.WriteString("</resources>\n<failoverdomains>")
		element(rt, &b, "failoverdomain", 2)
		b.WriteString("</failoverdomains>")
		element(rt, &b, "service", 0)
		element(rt, &b, "service", 0)
		b.WriteString("</rm>")
		element(rt, &b, rapid.SampledFrom(names).Draw(rt, "name"), 1)
		b.WriteString("</cluster>")
		data := []byte(b.String())
		r, err := ClusterConf(data)
		if err != nil {
			rt.Fatalf("%v\n%s", err, data)
		}
		whole(quiet{t, rt}, r, "cluster.conf", data, xmlComment)
	})
}
