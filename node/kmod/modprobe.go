package kmod

import (
	"errors"
	"strings"
)

// Request reads the command line with which the kernel asks for a module (kernel/module/kmod.c call_modprobe):
// modprobe -q -- NAME. The kernel does so for file systems, compressors, character sets and PHYs when something first
// needs them, so a machine should answer: a link /sbin/modprobe to a program that calls Load with this name.
func Request(args []string) (name string, err error) {
	for _, a := range args {
		if strings.HasPrefix(a, "-") {
			continue
		}
		if name != "" {
			return "", errors.New("modprobe: want one module")
		}
		name = a
	}
	if name == "" {
		return "", errors.New("modprobe: want a module")
	}
	return name, nil
}
