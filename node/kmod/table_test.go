package kmod

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
)

const testDep = `kernel/drivers/net/virtio_net.ko: kernel/net/core/failover.ko kernel/drivers/virtio/virtio.ko kernel/drivers/virtio/virtio_ring.ko
kernel/net/core/failover.ko:
kernel/drivers/virtio/virtio.ko: kernel/drivers/virtio/virtio_ring.ko
kernel/drivers/virtio/virtio_ring.ko:
kernel/fs/ext4/ext4.ko.xz: kernel/fs/jbd2/jbd2.ko.xz
kernel/fs/jbd2/jbd2.ko.xz:
kernel/crypto/crc32c_generic.ko:
kernel/crypto/crc32c-intel.ko:
kernel/a.ko:
kernel/b.ko:
`

const testAlias = `# Aliases extracted from modules themselves.
alias virtio:d00000001v* virtio_net
alias crypto-crc32c crc32c_intel
alias crypto-crc32c crc32c_generic
alias fs-ext4 ext4
alias pci:v00001AF4d*sv*sd*bc*sc*i* a
alias pci:v*d*sv*sd*bc02sc00i* b
alias dmi*:svn*Some Vendor*:* b
`

const testSoftdep = `# Soft dependencies extracted from modules themselves.
softdep ext4 pre: crypto-crc32c not-there
softdep a pre: b post: jbd2
softdep b pre: a
`

const testBuiltin = `kernel/fs/exportfs/exportfs.ko
kernel/drivers/firmware/dmi-sysfs.ko
`

func testTable(t testing.TB) *Table {
	t.Helper()
	table, err := ReadTable(testFiles())
	if err != nil {
		t.Fatal(err)
	}
	return table
}

func testFiles() fstest.MapFS {
	return fstest.MapFS{
		"modules.dep":     {Data: []byte(testDep)},
		"modules.alias":   {Data: []byte(testAlias)},
		"modules.softdep": {Data: []byte(testSoftdep)},
		"modules.builtin": {Data: []byte(testBuiltin)},
	}
}

func TestPlan(t *testing.T) {
	table := testTable(t)
	for _, tt := range []struct{ name, want string }{
		{"virtio_net", "virtio_ring virtio failover virtio_net"},
		{"virtio-net", "virtio_ring virtio failover virtio_net"},
		{"ext4", "crc32c_intel? crc32c_generic? jbd2 ext4"},
		{"a", "b? a jbd2?"}, // a and b want each other first
		{"dmi-sysfs", ""},   // built in
		{"nothing", ""},
	} {
		var got []string
		for _, s := range table.plan(tt.name) {
			if s.soft {
				s.name += "?"
			}
			got = append(got, s.name)
		}
		if diff := cmp.Diff(tt.want, strings.Join(got, " ")); diff != "" {
			t.Errorf("plan(%s) (-want +got):\n%s", tt.name, diff)
		}
	}
}

func TestMatchDevice(t *testing.T) {
	table := testTable(t)
	for _, tt := range []struct {
		modalias string
		want     []string
	}{
		{"virtio:d00000001v00001AF4", []string{"virtio_net"}},
		{"pci:v00001AF4d00001000sv1sd1bc02sc00i00", []string{"b", "a"}}, // both, from the shorter prefix up
		{"pci:v00008086d00001000sv1sd1bc02sc00i00", []string{"b"}},
		{"dmi:bvnX:svnSome Vendor, Inc.:pnY:", []string{"b"}},
		{"crypto-crc32c", []string{"crc32c_intel", "crc32c_generic"}},
		{"platform:none", nil},
	} {
		if diff := cmp.Diff(tt.want, table.Match(tt.modalias)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.modalias, diff)
		}
	}
}

func TestReadTableRefuses(t *testing.T) {
	for _, tt := range []struct{ file, text, want string }{
		{"modules.dep", "kernel/a.ko\n", "modules.dep: line 1"},
		{"modules.dep", "kernel/a.ko:\n:\n", "modules.dep: line 2"},
		{"modules.alias", "alias x\n", "modules.alias: line 1"},
		{"modules.softdep", "a pre: b\n", "modules.softdep: line 1"},
	} {
		files := testFiles()
		files[tt.file] = &fstest.MapFile{Data: []byte(tt.text)}
		if _, err := ReadTable(files); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s %q: %v, want %q", tt.file, tt.text, err, tt.want)
		}
	}
	files := testFiles()
	delete(files, "modules.dep")
	if _, err := ReadTable(files); err == nil {
		t.Error("no modules.dep: no error")
	}
}

func FuzzReadTable(f *testing.F) {
	f.Add(testDep, testAlias, testSoftdep, testBuiltin, "pci:v00001AF4d00001000sv1sd1bc02sc00i00")
	f.Add("a.ko: b.ko\nb.ko: a.ko\n", "alias * a\nalias a* b\n", "softdep a pre: b a", "", "a")
	f.Fuzz(func(t *testing.T, dep, alias, soft, builtin, device string) {
		if len(dep)+len(alias)+len(soft) > 1<<12 { // plans of hostile graphs are long; tables come from our own build
			return
		}
		table, err := ReadTable(fstest.MapFS{
			"modules.dep": {Data: []byte(dep)}, "modules.alias": {Data: []byte(alias)},
			"modules.softdep": {Data: []byte(soft)}, "modules.builtin": {Data: []byte(builtin)},
		})
		if err != nil {
			return
		}
		for _, name := range append(table.Match(device), device) {
			var names []string
			for _, s := range table.plan(name) {
				if slices.Contains(names, s.name) {
					t.Errorf("plan(%q): %s twice", name, s.name)
				}
				names = append(names, s.name)
			}
		}
	})
}

// BenchmarkMatch is a server's devices against as many patterns as Debian's generic kernel has.
func BenchmarkMatch(b *testing.B) {
	table := &Table{}
	for i := range 25000 {
		table.aliases.add(fmt.Sprintf("pci:v%08Xd%08Xsv*sd*bc*sc*i*", i%300, i), fmt.Sprintf("m%d", i%3000))
	}
	b.ReportAllocs()
	for b.Loop() {
		for i := range 300 {
			table.Match(fmt.Sprintf("pci:v%08Xd%08Xsv00001AF4sd00001100bc02sc00i00", i, i*7))
		}
	}
}
