package foreign

import (
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// logical is a line after its continuations were appended.
type logical struct {
	number int // of the first
	last   int
	text   string
}

// logicals joins lines that end with a backslash, and drops comments. Empty lines stay.
func logicals(data []byte) []logical {
	var out []logical
	var open *logical
	for i, text := range strings.Split(string(data), "\n") {
		trimmed := strings.TrimSpace(text)
		if strings.HasPrefix(trimmed, "#") {
			continue
		}
		part, more := strings.CutSuffix(trimmed, `\`)
		if open == nil {
			out = append(out, logical{number: i + 1, text: part})
			open = &out[len(out)-1]
		} else {
			open.text += part
		}
		open.last = i + 1
		if !more {
			open = nil
		}
	}
	return out
}

// words splits a line as a shell does: white space parts, quotes and a backslash keep together. ok: the quotes match.
func words(s string) (out []string, ok bool) {
	var b strings.Builder
	in, quote := false, byte(0)
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case c == '\\' && quote != '\'' && i+1 < len(s):
			i++
			b.WriteByte(s[i])
			in = true
		case quote != 0 && c == quote:
			quote = 0
		case quote != 0:
			b.WriteByte(c)
		case c == '"' || c == '\'':
			quote, in = c, true
		case c == ' ' || c == '\t':
			if in {
				out = append(out, b.String())
				b.Reset()
				in = false
			}
		default:
			b.WriteByte(c)
			in = true
		}
	}
	if in {
		out = append(out, b.String())
	}
	return out, quote == 0
}

// options takes getopt(3) options with arguments (of takes) and without (of flags) from the front of words.
func options(args []string, takes, flags string) (opts map[byte]string, rest []string, unknown string) {
	opts = map[byte]string{}
	for len(args) > 0 {
		a := args[0]
		if a == "--" {
			return opts, args[1:], unknown
		}
		if len(a) < 2 || a[0] != '-' {
			break
		}
		args = args[1:]
		for j := 1; j < len(a); j++ {
			if strings.IndexByte(takes, a[j]) >= 0 {
				value := a[j+1:]
				if value == "" && len(args) > 0 {
					value, args = args[0], args[1:]
				}
				opts[a[j]] = value
				break
			}
			opts[a[j]] = ""
			if strings.IndexByte(flags, a[j]) < 0 {
				unknown += " -" + string(a[j])
			}
		}
	}
	return opts, args, strings.TrimSpace(unknown)
}

// timeval is mon's time: "30s", "5m", "1.5h", "1d" (mon(8), Service Definitions).
func timeval(s string) (time.Duration, bool) {
	s = strings.ToLower(strings.TrimSpace(s))
	if s == "" {
		return 0, false
	}
	unit := map[byte]time.Duration{'s': time.Second, 'm': time.Minute, 'h': time.Hour, 'd': 24 * time.Hour}[s[len(s)-1]]
	return number(s[:len(s)-1], unit)
}

// number is so many units, not more than ten years.
func number(s string, unit time.Duration) (time.Duration, bool) {
	n, err := strconv.ParseFloat(s, 64)
	if err != nil || unit == 0 || !(n >= 0 && n*float64(unit) < float64(10*366*24*time.Hour)) || strings.ContainsAny(s, "+-einfxpEINFXP_") {
		return 0, false
	}
	return time.Duration(n * float64(unit)), true
}

// address reads ADDRESS or ADDRESS/LENGTH, where the length may be a netmask. whole: there was a length; otherwise it is that
// of one address.
func address(s string) (p netip.Prefix, whole, ok bool) {
	text, length, whole := strings.Cut(s, "/")
	a, err := netip.ParseAddr(text)
	if err != nil || a.Zone() != "" || a.IsUnspecified() || a.IsMulticast() || a.Is4In6() {
		return netip.Prefix{}, false, false
	}
	bits := a.BitLen()
	if whole {
		if mask, err := netip.ParseAddr(length); err == nil && mask.Is4() && a.Is4() {
			m := mask.As4()
			n := uint32(m[0])<<24 | uint32(m[1])<<16 | uint32(m[2])<<8 | uint32(m[3])
			for bits = 0; bits < 32 && n&(1<<31) != 0; bits++ {
				n <<= 1
			}
			if n != 0 {
				return netip.Prefix{}, false, false
			}
		} else if bits, err = strconv.Atoi(length); err != nil {
			return netip.Prefix{}, false, false
		}
	}
	p = netip.PrefixFrom(a, bits)
	return p, whole, p.IsValid()
}
