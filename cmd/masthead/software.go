package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"

	"masthead/images"
	"masthead/node/agent"
	"masthead/node/wire"
)

// software is what this machine runs. root is where its distribution lies.
func software(root, proc, sys string) wire.Software {
	s := wire.Software{
		OS:     osName(text(root, "etc/os-release"), text(root, "usr/lib/os-release")),
		Kernel: text(proc, "sys/kernel/osrelease"),
		Data:   dataEngine(sys),
	}
	if boot, _ := images.ParseBoot(text(proc, "cmdline")); boot.Slot != "" { // what makes no sense was said at boot
		s.Slot = boot.Slot
	}
	if left, err := agent.LoadConfig(images.RunNode); err == nil {
		s.Image = string(left.Image)
	}
	return s
}

// text is what a file says; empty where there is none.
func text(dir, file string) string {
	data, err := os.ReadFile(filepath.Join(dir, file))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(data))
}

// osName is the name of a distribution by os-release(5), of the first text that has one.
func osName(texts ...string) string {
	for _, t := range texts {
		for line := range strings.Lines(t) {
			if name, ok := strings.CutPrefix(strings.TrimSpace(line), "PRETTY_NAME="); ok {
				return strings.Trim(name, `"'`)
			}
		}
	}
	return ""
}

// dataEngine is the version of DRBD in the kernel, if it is loaded.
func dataEngine(sys string) string {
	if v := text(sys, "module/drbd/version"); v != "" {
		return "drbd " + v
	}
	return ""
}

// printSoftware shows what each head runs, and where they differ.
func (a *app) printSoftware(heads []wire.HeadStatus) error {
	w := tabwriter.NewWriter(a.out, 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, "\nNAME\tPROGRAM\tOS\tKERNEL\tIMAGE\tSLOT\tDATA")
	for _, h := range heads {
		s := h.Software
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", h.Name, orDash(s.Program), orDash(s.OS), orDash(s.Kernel),
			orDash(images.Digest(s.Image).Short()), orDash(s.Slot), orDash(s.Data))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	for _, line := range wire.Differences(heads) {
		fmt.Fprintf(a.out, "DIFFERS  %s\n", line)
	}
	return nil
}
