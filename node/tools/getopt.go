package tools

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// options are the flags and operands of a call.
type options struct {
	name  string
	flags map[string][]string
	args  []string
}

func (o options) has(flag string) bool { return len(o.flags[flag]) > 0 }

// value is a flag's last value.
func (o options) value(flag, otherwise string) string {
	if v := o.flags[flag]; len(v) > 0 {
		return v[len(v)-1]
	}
	return otherwise
}

func (o options) number(flag string, otherwise int) (int, error) {
	v := o.flags[flag]
	if len(v) == 0 {
		return otherwise, nil
	}
	n, err := strconv.Atoi(v[len(v)-1])
	if err != nil || n < 0 {
		return 0, fmt.Errorf("-%s %s is no number: %w", flag, v[len(v)-1], errUsage)
	}
	return n, nil
}

// getopt reads args as getopt(3) does. spec holds the letters of the flags, a colon after each that takes a value,
// and after that, each with a space before it, long names. Flags may follow operands, as people type them, unless
// spec begins with "+"; -- ends them. A spec of "!" leaves all to the tool. --help is always a flag, and -5 means -n 5
// where there is an n.
func getopt(name, spec string, args []string) (options, error) {
	o := options{name: name, flags: map[string][]string{}}
	letters, long, _ := strings.Cut(spec, " ")
	if spec == "!" && !slices.Equal(args, []string{"--help"}) {
		o.args = args
		return o, nil
	}
	letters, strict := strings.CutPrefix(letters, "+")
	names := append(strings.Fields(long), "help")
	for len(args) > 0 {
		arg := args[0]
		args = args[1:]
		switch {
		case arg == "--":
			o.args = append(o.args, args...)
			return o, nil
		case strings.HasPrefix(arg, "--"):
			if !slices.Contains(names, arg[2:]) {
				return o, fmt.Errorf("unknown option %s: %w", arg, errUsage)
			}
			o.flags[arg[2:]] = append(o.flags[arg[2:]], "")
		case len(arg) > 1 && arg[0] == '-' && isNumber(arg[1:]) && strings.Contains(letters, "n:"):
			o.flags["n"] = append(o.flags["n"], arg[1:])
		case len(arg) > 1 && arg[0] == '-':
			for rest := arg[1:]; rest != ""; {
				f := rest[:1]
				rest = rest[1:]
				i := strings.Index(letters, f)
				switch {
				case i < 0 || f == ":":
					return o, fmt.Errorf("unknown option -%s: %w", f, errUsage)
				case !strings.HasPrefix(letters[i+1:], ":"):
					o.flags[f] = append(o.flags[f], "")
					continue
				case rest == "" && len(args) == 0:
					return o, fmt.Errorf("option -%s needs a value: %w", f, errUsage)
				case rest == "":
					rest, args = args[0], args[1:]
				}
				o.flags[f] = append(o.flags[f], rest)
				rest = ""
			}
		case strict:
			o.args = append(append(o.args, arg), args...)
			return o, nil
		default:
			o.args = append(o.args, arg)
		}
	}
	return o, nil
}

func isNumber(s string) bool {
	_, err := strconv.ParseUint(s, 10, 31)
	return err == nil
}
