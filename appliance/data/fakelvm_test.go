package data

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// fakeLVM is a device with a volume group on it, and the programs that change it, as far as Volume.move and thin use them.
type fakeLVM struct {
	group *Group  // nil: the device is blank
	next  int     // thin device
	gives float64 // percent of the pool, by each removal
	held  bool    // a state of the pool's metadata is kept
}

// do performs a command; its options stand before its arguments.
func (f *fakeLVM) do(argv []string) error {
	options, args := map[string]string{}, []string{}
	for i := 1; i < len(argv); i++ {
		switch name, option := strings.CutPrefix(argv[i], "--"); {
		case option && slices.Contains([]string{"yes", "snapshot", "ignoreactivationskip", "refresh"}, name):
			options[name] = "yes"
		case option:
			options[name] = argv[i+1]
			i++
		default:
			args = append(args, argv[i])
		}
	}
	if argv[0] == "vgcreate" {
		f.group = &Group{Name: args[0], Tags: []string{options["addtag"]}}
		return nil
	}
	group, name, _ := strings.Cut(args[0], "/")
	if f.group == nil || f.group.Name != group {
		return fmt.Errorf("Volume group %q not found", group)
	}
	if argv[0] == "lvrename" {
		name = args[1]
	}
	l := f.group.named(name)
	if l == nil && name != "" {
		return fmt.Errorf("Failed to find logical volume %q", args[0])
	}
	switch argv[0] {
	case "lvcreate":
		made := Logical{Name: options["name"], Size: 1000 << 20, Used: -1, MetaUsed: -1, Active: options["setactivationskip"] != "y"}
		if f.group.named(made.Name) != nil {
			return fmt.Errorf("Logical Volume %q already exists", made.Name)
		}
		if options["type"] == "thin-pool" {
			made.Used, made.MetaUsed = 20, 10
		} else {
			f.next++
			made.ID, made.Pool = f.next, poolName
		}
		if l != nil {
			made.Origin, made.Size = l.Name, l.Size
		}
		if size := options["virtualsize"]; size != "" {
			made.Size = number(strings.TrimSuffix(size, "b"))
		}
		f.group.Volumes = append(f.group.Volumes, made)
	case "lvremove":
		if pool := f.group.named(poolName); !f.held {
			pool.Used -= f.gives
		}
		f.group.Volumes = slices.DeleteFunc(f.group.Volumes, func(o Logical) bool { return o.Name == name })
	case "lvrename":
		if f.group.named(args[2]) != nil {
			return fmt.Errorf("Logical Volume %q already exists", args[2])
		}
		l.Name = args[2]
	case "lvchange":
		if tag, ok := options["addtag"]; ok {
			l.Tags = append(l.Tags, tag)
		}
		l.Tags = slices.DeleteFunc(l.Tags, func(t string) bool { return t == options["deltag"] })
		if on, ok := options["activate"]; ok {
			l.Active = on == "y"
		}
		if options["refresh"] != "" {
			l.Suspended = false
		}
	default:
		return errors.New("not found: " + argv[0])
	}
	return nil
}

// report is what vgs and lvs print.
func (f *fakeLVM) report(program string) string {
	rows, kind := []map[string]string{}, "vg"
	if program == "vgs" && f.group != nil {
		rows = append(rows, map[string]string{"vg_name": f.group.Name, "vg_tags": strings.Join(f.group.Tags, ",")})
	}
	if program == "lvs" {
		kind = "lv"
		for _, l := range f.group.Volumes {
			row := map[string]string{"lv_name": l.Name, "pool_lv": l.Pool, "origin": l.Origin, "lv_tags": strings.Join(l.Tags, ","), "lv_size": fmt.Sprint(l.Size), "thin_id": fmt.Sprint(l.ID)}
			if l.Used >= 0 {
				row["data_percent"], row["metadata_percent"] = fmt.Sprint(l.Used), fmt.Sprint(l.MetaUsed)
			}
			if l.Active {
				row["lv_active"] = "active"
			}
			if l.Suspended {
				row["lv_suspended"] = "suspended"
			}
			rows = append(rows, row)
		}
	}
	text, err := json.Marshal(map[string]any{"report": []any{map[string]any{kind: rows}}})
	if err != nil {
		panic(err) // of maps of strings
	}
	return "  WARNING: a test\n" + string(text) + "\n"
}
