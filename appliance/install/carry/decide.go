package carry

import (
	"path"
	"strings"
)

// Kind is what an entry of an upper layer is.
type Kind string

const (
	Directory Kind = "directory"
	File      Kind = "file" // and links, devices: anything that is not a directory and is there
	Whiteout  Kind = "whiteout"
)

// Entry is one entry of an upper layer, and how the two images below have its path.
type Entry struct {
	Path string // from the root, without a slash in front
	Kind Kind
	// Opaque: the directory hides all that is below it.
	Opaque bool
	InNext bool // the new image has the path
	// Differs: the two images do not have the same there. False where one of them has nothing.
	Differs bool
}

// Action is what becomes of an entry.
type Action string

const (
	Carry Action = "carry"
	Drop  Action = "drop"
	Merge Action = "merge" // into what the new image has
)

// Decision is an action and why, where people should know.
type Decision struct {
	Do       Action
	Conflict string // empty: none
}

// rule is what holds for the paths below a prefix, or for the path itself. The first that fits counts.
type rule struct {
	prefix string
	do     Action
}

// rules are those that need nothing but the path.
var rules = []rule{
	// What the machine makes anew by itself.
	{"run", Drop}, {"tmp", Drop}, {"var/tmp", Drop}, {"var/lib/apt/lists", Drop}, {"var/cache/debconf", Carry}, {"var/cache", Drop},
	// Kernel and initramfs come from the slot.
	{"boot", Drop},
	// dpkg's own: the list of packages is merged by package; its other files follow the packages (see Decide).
	{"var/lib/dpkg/status", Merge}, {"var/lib/dpkg/status-old", Drop}, {"var/lib/dpkg/lock", Drop}, {"var/lib/dpkg/lock-frontend", Drop},
	{"var/lib/dpkg/triggers/Lock", Drop}, {"var/lib/dpkg/triggers", Merge},
	// Accounts: the machine's, and those that a package of the new image has brought.
	{"etc/passwd", Merge}, {"etc/shadow", Merge}, {"etc/group", Merge}, {"etc/gshadow", Merge},
	{"etc/passwd-", Drop}, {"etc/shadow-", Drop}, {"etc/group-", Drop}, {"etc/gshadow-", Drop},
}

const dpkgInfo = "var/lib/dpkg/info/"

// kept are the folders whose contents are the administrator's, not the image's: there this machine's file wins.
var kept = []string{"etc", "var", "home", "root", "srv", "opt", "usr/local", "mnt", "media"}

// Decide is what becomes of an entry of the upper layer. owners says whose version of a package has a path, packages
// whose side each package is on. Pure.
func Decide(e Entry, owners map[string]Side, packages map[string]Side) Decision {
	for _, r := range rules {
		if e.Path == r.prefix || strings.HasPrefix(e.Path, r.prefix+"/") {
			if r.do == Merge && e.Kind != File {
				return Decision{Do: Carry}
			}
			return Decision{Do: r.do}
		}
	}
	if e.Kind == Directory {
		return Decision{Do: Carry} // it counts only if something below it does, or if the new image does not have it
	}
	if name, ok := strings.CutPrefix(e.Path, dpkgInfo); ok {
		return decideInfo(name, packages)
	}
	owner, owned := owners[e.Path]
	mine := within(e.Path, kept)
	switch {
	case e.Kind == Whiteout && !e.InNext:
		return Decision{Do: Drop} // there is nothing to hide
	case owned && owner == Machine:
		return Decision{Do: Carry}
	case mine && e.InNext && e.Differs:
		return Decision{Do: Carry, Conflict: "/" + e.Path + " was changed here and in the new image: this machine's stays"}
	case mine:
		return Decision{Do: Carry}
	case owned:
		return Decision{Do: Drop} // a package's file, and the package is as the new image has it
	case e.InNext && e.Differs:
		return Decision{Do: Drop, Conflict: "/" + e.Path + " was changed here and in the new image: the new image's is used"}
	}
	return Decision{Do: Carry}
}

// decideInfo is for dpkg's files about one package: NAME.list, NAME:ARCH.md5sums.
func decideInfo(name string, packages map[string]Side) Decision {
	pkg := strings.TrimSuffix(name, path.Ext(name))
	if side, ok := packages[pkg]; ok && side == Machine {
		return Decision{Do: Carry}
	}
	if name == "format" {
		return Decision{Do: Carry}
	}
	return Decision{Do: Drop}
}

func within(p string, dirs []string) bool {
	for _, d := range dirs {
		if strings.HasPrefix(p, d+"/") {
			return true
		}
	}
	return false
}

// Hides reports whether an opaque directory stays one: where the image's files are, it would hide those that are new.
func Hides(e Entry) bool { return e.Opaque && (within(e.Path, kept) || !e.InNext) }
