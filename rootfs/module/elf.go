package module

import (
	"bytes"
	"debug/elf"
	"fmt"
	"strings"
)

// contents is what the ELF file of one module holds for depmod.
type contents struct {
	info    []string // .modinfo: key=value
	exports []string
	imports []string // in the order of the symbol table, which decides the order of depmod's output
}

// readELF reads a decompressed module. A signature appended to it does no harm.
func readELF(data []byte) (contents, error) {
	var c contents
	f, err := elf.NewFile(bytes.NewReader(data))
	if err != nil {
		return c, fmt.Errorf("not a kernel module: %w", err)
	}
	if f.Type != elf.ET_REL {
		return c, fmt.Errorf("not a kernel module: ELF type %v", f.Type)
	}
	var names []string // of __ksymtab_strings
	for _, s := range f.Sections {
		switch s.Name {
		case ".modinfo", "__ksymtab_strings":
			text, err := s.Data()
			if err != nil {
				return c, fmt.Errorf("section %s: %w", s.Name, err)
			}
			if s.Name == ".modinfo" {
				c.info = append(c.info, cStrings(text)...)
			} else {
				names = append(names, cStrings(text)...)
			}
		}
	}
	symbols, err := f.Symbols()
	if err != nil && err != elf.ErrNoSymbols {
		return c, fmt.Errorf("symbol table: %w", err)
	}
	for _, s := range symbols {
		if s.Section == elf.SHN_UNDEF {
			if s.Name != "" {
				c.imports = append(c.imports, strings.TrimPrefix(s.Name, "."))
			}
			continue
		}
		// With CONFIG_MODVERSIONS each exported symbol has a checksum, and libkmod goes by those.
		if name, ok := strings.CutPrefix(s.Name, "__crc_"); ok {
			c.exports = append(c.exports, name)
		}
	}
	if len(c.exports) == 0 {
		c.exports = names
	}
	return c, nil
}

// cStrings splits zero-terminated strings and drops the empty ones, which are padding.
func cStrings(data []byte) []string {
	var all []string
	for s := range strings.SplitSeq(string(data), "\x00") {
		if s != "" {
			all = append(all, s)
		}
	}
	return all
}

// describe turns the key=value strings of .modinfo into a Module without dependencies.
func describe(file string, size int64, c contents) Module {
	m := Module{Path: file, Name: NameOf(file), Size: size, Exports: c.exports}
	for _, kv := range c.info {
		key, value, _ := strings.Cut(kv, "=")
		switch key {
		case "alias":
			m.Aliases = append(m.Aliases, value)
		case "softdep":
			m.Softdeps = append(m.Softdeps, value)
		case "weakdep":
			m.Weakdeps = append(m.Weakdeps, value)
		case "firmware":
			m.Firmware = append(m.Firmware, value)
		}
	}
	return m
}
