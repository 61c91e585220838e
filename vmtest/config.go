package vmtest

import (
	"masthead/vmtest/qemu"
)

// Config is a lab, as lab.yaml writes it. What is left out has defaults, which
// Prepare fills in.
type Config struct {
	Name     string                   `yaml:"name"`
	Seed     uint64                   `yaml:"seed"`     // of all random faults
	Nice     int                      `yaml:"nice"`     // 0 to 19: the machines give way to other processes of the host
	Capture  bool                     `yaml:"capture"`  // each switch to captures/NAME.pcapng
	Fresh    bool                     `yaml:"fresh"`    // blank disks are blank again each time that the lab comes up
	Switches []string                 `yaml:"switches"` // left out: one, named lan
	Trunks   []Pair                   `yaml:"trunks"`   // between switches
	Cables   []Pair                   `yaml:"cables"`   // serial, between machines
	Machines map[string]MachineConfig `yaml:"machines"`
	// Cluster is what the heads are configured with once they are up; the lab does not act on it. ${management.NAME} stands
	// for the management controller of a machine, as machines reach it.
	Cluster string `yaml:"cluster"`
}

// Pair is the two ends of a trunk or a cable.
type Pair struct {
	Ends [2]string `yaml:"ends,flow"`
}

// MachineConfig is one machine of a lab.
type MachineConfig struct {
	Role     string              `yaml:"role"`     // head, worker or none; the lab does not act on it
	Memory   int                 `yaml:"memory"`   // MiB; left out: 512
	CPUs     int                 `yaml:"cpus"`     // left out: 1
	Firmware qemu.Firmware       `yaml:"firmware"` // left out: bios
	Boot     Boot                `yaml:"boot"`     // left out: cd with an iso, disk with disks, else network
	ISO      string              `yaml:"iso"`      // in a CD drive
	Kernel   KernelConfig        `yaml:"kernel"`   // loaded by QEMU itself
	Disks    []DiskConfig        `yaml:"disks"`
	NICs     []NICConfig         `yaml:"nics"`      // left out: one on the first switch
	Forward  map[string]int      `yaml:"forward"`   // guest ports by name, reached from the host
	UUID     string              `yaml:"uuid"`      // left out: made from the names
	OEM      []string            `yaml:"oem"`       // SMBIOS type 11 strings
	OEMFiles []string            `yaml:"oem_files"` // the same, each from a file
	FwCfg    map[string]string   `yaml:"fw_cfg"`
	Watchdog qemu.WatchdogAction `yaml:"watchdog"`
	// Management is a TCP port, on the host's loopback, of a controller that speaks QMP and works while the machine is off.
	// Machines with forwarded ports reach it at 10.0.2.2. -1: a free port. 0: none.
	Management int  `yaml:"management"`
	NoReboot   bool `yaml:"no_reboot"` // off where it would reboot
	Off        bool `yaml:"off"`       // not powered on with the lab
}

// KernelConfig is a kernel that QEMU loads into a machine.
type KernelConfig struct {
	Image  string `yaml:"image"`
	Initrd string `yaml:"initrd"`
	Append string `yaml:"append"`
}

// DiskConfig is a disk: an image file (path), or a blank one of a size that the
// lab makes and keeps in the machine's folder.
type DiskConfig struct {
	Path     string   `yaml:"path"`
	Size     Size     `yaml:"size"`
	Label    string   `yaml:"label"` // of an ext4 file system on a blank disk
	Format   string   `yaml:"format"`
	Bus      qemu.Bus `yaml:"bus"`
	ReadOnly bool     `yaml:"readonly"`
}

// NICConfig is a network card.
type NICConfig struct {
	Switch   string `yaml:"switch"` // left out: the first
	MAC      string `yaml:"mac"`    // left out: made from the names
	Model    string `yaml:"model"`
	ROM      string `yaml:"rom"`
	PlainPXE bool   `yaml:"plain_pxe"` // the boot ROM asks like a PXE client that is not iPXE
}

// Machine defaults.
const (
	defaultMemory = 512 // MiB: the least that a masthead worker is to boot with
	defaultSwitch = "lan"
)

// Boot is one boot source, or several to be tried in order.
type Boot []qemu.Source
