package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"strings"
	"testing"
)

// layers says who may import whom, as docs/architecture.md draws it. A package belongs to the longest key that is a
// prefix of its path; it may import the packages below the prefixes listed, and those of its own key.
//
//	build: images ← rootfs ← initramfs ← builder ← cmd
//	run:   images, node/wire ← node/<leaf> ← {node, appliance/<leaf>} ← appliance ← cmd
var layers = map[string][]string{
	"images": {},
	"rootfs": {"images"},
	// What tests get kernels from: it is in no program.
	"rootfs/kernel/kerneltest": {"rootfs", "vmtest/prerequisite"},
	"initramfs":                {"images", "rootfs"},
	"builder":                  {"images", "rootfs", "initramfs"},

	"node/wire":    {"images"},
	"node/stages":  {"images", "node/wire"},
	"node/kmod":    {"images", "node/wire"},
	"node/netif":   {"images", "node/wire"},
	"node/rootdev": {"images", "node/wire"},
	"node/console": {"images", "node/wire"},
	"node/tools":   {"images", "node/wire"},
	"node/witness": {"images", "node/wire"},
	// Disks: what there is, and the slots of an installed one.
	"node/blockdev": {"images"},
	"node/slot":     {"images", "node/wire", "node/blockdev"},
	"node/serial":   {},
	// The agent is what the leaves are for once the root's init runs; no leaf imports it.
	"node/agent": {"images", "node/wire", "node/stages", "node/netif", "node/rootdev", "node/witness"},
	"node":       {"images", "node"},

	"appliance/state":    {"images", "node/wire"},
	"appliance/nodeset":  {},
	"appliance/registry": {"images", "node/wire", "appliance/state", "appliance/nodeset"},
	"appliance/dhcp":     {"images", "node/wire"},
	"appliance/command":  {"images", "node/wire"},
	"appliance/tftp":     {"images", "node/wire"},
	"appliance/ndp":      {},
	"appliance/dns":      {"images", "node/wire"},
	"appliance/ntp":      {"images", "node/wire"},
	"appliance/httpboot": {"images", "node/wire"},
	"appliance/pki":      {"images", "node/wire"},
	"appliance/gossip":   {"images", "node/wire", "appliance/state"},
	"appliance/fetch":    {"images", "node/wire"},
	"appliance/files":    {"images", "node/wire"},
	"appliance/roll":     {"images", "node/wire"},
	// Ownership: the decision is pure, the leaves around it are its senses and hands, and the daemon joins them.
	"appliance/failover":            {},
	"appliance/failover/simulation": {"appliance/failover", "appliance/data", "node/witness"},
	"appliance/heartbeat":           {"images", "node/wire", "appliance/failover"},
	"appliance/arbiter":             {"images", "node/wire", "node/witness", "appliance/failover"},
	"appliance/vip":                 {"images", "node/wire", "appliance/failover"},
	"appliance/watchdog":            {"images", "node/wire", "node/kmod"},
	"appliance/fence":               {"images", "node/wire", "appliance/failover"},
	"appliance/data":                {"images", "node/wire", "appliance/failover"},
	"appliance/service":             {"images", "node/wire", "appliance/failover"},
	"appliance/monitor":             {"images", "node/wire", "appliance/failover"},
	"appliance/configuration":       {"images", "node/wire", "appliance/failover", "appliance/data", "appliance/fence", "appliance/service", "appliance/monitor"},
	"appliance/foreign":             {"images", "node/wire", "node/serial", "appliance/fence", "appliance/service", "appliance/monitor", "appliance/configuration"},
	"appliance/ownership":           {"images", "node", "appliance/pki", "appliance/failover", "appliance/heartbeat", "appliance/arbiter", "appliance/vip", "appliance/watchdog", "appliance/data", "appliance/fence", "appliance/service", "appliance/monitor", "appliance/configuration"},
	"appliance/install":             {"images", "node/wire", "node/blockdev", "node/slot", "node/rootdev/chunks"},
	// It decides on disks by the installer's own plan.
	"appliance/maker": {"images", "node/wire", "appliance/install"},
	"appliance":       {"images", "node", "appliance"},

	"vmtest":        {"images", "node/wire", "vmtest/prerequisite"},
	"vmtest/prober": {},
	// What a test needs of its machine. All tests use it.
	"vmtest/prerequisite": {},
	"vmtest/arena":        {"vmtest/prober"},
	"vmtest/arena/heads":  {"node/wire", "node/witness", "vmtest/arena", "vmtest/prober"},
	"vmtest/cluster":      {"images", "node/wire", "vmtest"},

	"cmd": {"images", "rootfs", "initramfs", "builder", "node", "appliance", "vmtest"},
}

type goPackage struct {
	ImportPath string
	Imports    []string
}

func TestLayers(t *testing.T) {
	out, err := exec.Command("go", "list", "-json=ImportPath,Imports", "masthead/...").Output()
	if err != nil {
		var e *exec.ExitError
		if errors.As(err, &e) {
			t.Fatalf("go list: %v\n%s", err, e.Stderr)
		}
		t.Fatalf("go list: %v", err)
	}
	seen := 0
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var p goPackage
		if err := dec.Decode(&p); err == io.EOF {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		path := strings.TrimPrefix(p.ImportPath, "masthead/")
		key := layerOf(path)
		if key == "" {
			t.Errorf("%s is in no layer: give it a row in the table", path)
			continue
		}
		for _, imp := range p.Imports {
			to, ours := strings.CutPrefix(imp, "masthead/")
			if !ours {
				continue
			}
			seen++
			if !mayImport(key, to) {
				t.Errorf("%s imports %s: %s may import %v", path, to, key, layers[key])
			}
		}
	}
	if seen < 50 {
		t.Errorf("only %d imports seen: the test does not see the project", seen)
	}
}

// layerOf is the longest key of layers that path lies under.
func layerOf(path string) string {
	best := ""
	for key := range layers {
		if under(path, key) && len(key) > len(best) {
			best = key
		}
	}
	return best
}

func under(path, prefix string) bool {
	return path == prefix || strings.HasPrefix(path, prefix+"/")
}

func mayImport(key, to string) bool {
	if layerOf(to) == key {
		return true
	}
	for _, allowed := range layers[key] {
		if under(to, allowed) {
			return true
		}
	}
	return false
}

// What calls methods by names that are known only at run time (text/template does) makes the linker keep every exported
// method of every package: 20 MB of this program, which each worker holds in memory.
func TestLinkerMayDrop(t *testing.T) {
	cmd := exec.CommandContext(t.Context(), "go", "build", "-ldflags=-dumpdep -s -w", "-o", t.TempDir()+"/masthead", "masthead/cmd/masthead")
	cmd.Env = append(cmd.Environ(), "CGO_ENABLED=0")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%.2000s", err, out)
	}
	for line := range bytes.Lines(out) {
		if bytes.Contains(line, []byte("<ReflectMethod>")) {
			t.Errorf("a method is called by its name: %s", line)
		}
	}
}
