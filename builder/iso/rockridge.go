package iso

// Rock Ridge gives files their real names and modes (RRIP 1.10 over SUSP 1.10,
// the variant that every reader knows).

// extensionReference is the ER entry that announces Rock Ridge. It is too long
// for the record of the root and stands in a continuation area.
const extensionReference = "ER\xed\x01\x0a\x54\x87\x01" +
	"RRIP_1991A" +
	"THE ROCK RIDGE INTERCHANGE PROTOCOL PROVIDES SUPPORT FOR POSIX FILE SYSTEM SEMANTICS" +
	"PLEASE CONTACT DISC PUBLISHER FOR SPECIFICATION SOURCE.  SEE PUBLISHER IDENTIFIER IN " +
	"PRIMARY VOLUME DESCRIPTOR FOR CONTACT INFORMATION."

// sp marks the root as carrying system use entries (SUSP 5.3).
func sp() []byte { return []byte{'S', 'P', 7, 1, 0xbe, 0xef, 0} }

// ce points at a continuation area (SUSP 5.1).
func ce(lba uint32, size int) []byte {
	b := make([]byte, 28)
	copy(b, "CE\x1c\x01")
	putBoth32(b[4:], lba)
	putBoth32(b[20:], uint32(size))
	return b
}

// px holds mode, links, owner and group (RRIP 4.1.1). All belongs to root and
// is readable by all: an image says nothing about the machine that built it.
func px(n *node) []byte {
	mode, links := uint32(0o100444), uint32(1)
	if n.dir {
		mode, links = 0o40555, 2
		for _, c := range n.children {
			if c.dir {
				links++
			}
		}
	}
	b := make([]byte, 36)
	copy(b, "PX\x24\x01")
	putBoth32(b[4:], mode)
	putBoth32(b[12:], links)
	return b
}

// nm holds the name (RRIP 4.1.4).
func nm(name string) []byte {
	return append([]byte{'N', 'M', byte(5 + len(name)), 1, 0}, name...)
}
