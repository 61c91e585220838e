package images

// Paths inside a running machine that both the builder and the node rely on.
const (
	// In the initramfs.
	InitramfsInit    = "/init"                    // masthead itself
	InitramfsConfig  = "/etc/masthead/image.json" // Baked, what the build tells init
	InitramfsModules = "/lib/modules"             // RELEASE/ below it, with modules.dep and modules.alias

	// In the running system, on a tmpfs that survives the switch to the root.
	RunDir         = "/run/masthead"
	RunBinary      = "/run/masthead/bin/masthead"
	RunInit        = "/run/masthead/bin/init"      // a link to RunBinary: PID 1 of a root that has no init of its own
	CredentialsDir = "/run/masthead/credentials"   // secrets from the machine's owner, one file each, for root alone
	RunNode        = "/run/masthead/node.json"     // what the agent needs to go on where init ended
	RunStages      = "/run/masthead/stages.json"   // the boot stages so far
	RunManifest    = "/run/masthead/manifest.json" // of the image that the root is
	RootdSocket    = "/run/masthead/rootd.sock"    // control of the root device server
	APISocket      = "/run/masthead/api.sock"      // the head's API for root on the same machine
	OwnerSocket    = "/run/masthead/owner.sock"    // the owner daemon of a head
	DRBDHandler    = "masthead-drbd"               // the name by which the kernel's DRBD calls masthead: see main.identity
	MediumMount    = "/run/masthead/medium"        // the ISO that the machine booted from
	StateDir       = "/var/lib/masthead"           // a head's state; on a file system labelled StateLabel if there is one
	RootLower      = "/run/masthead/root/lower"    // the EROFS mount
	RootUpperDir   = "/run/masthead/root/overlay"  // tmpfs with upper/ and work/

	// What a soft reboot goes to: where systemd looks for it (systemd-soft-reboot.service(8)), and what of ours goes with it.
	NextRoot = "/run/nextroot"
	NextDir  = "/run/masthead/next"

	StateMount = "/run/masthead/state" // the state partition of an installed disk, as a whole

	// On the state partition of an installed disk, beside the head's state.
	OverlayDir = "overlay"     // a/ and b/: what was written over the root of each slot; upper/, work/, image
	SlotsFile  = "slots.json"  // what became of upgrades
	SecretsDir = "credentials" // as CredentialsDir, kept: the administrator's key and password
	// FirstDocument is the cluster's configuration that the installation was told. A head that has none takes it, once.
	FirstDocument = "first-configuration.yaml"

	// On the ISO.
	MediumLabel = "MASTHEAD"      // ISO9660 volume identifier
	MediumPack  = "masthead/pack" // the Pack with every image that the medium carries

	// Credentials that a machine may be given.
	CredentialAdminToken = "admin-token" // accepted by the head's API as an administrator's
	CredentialSSHKey     = "ssh-key"     // an authorized_keys line for root
	CredentialJoin       = "join-token"  // for a head that has no cluster yet: the token to join one with
	CredentialJoinAt     = "join"        // the address of a head of that cluster; empty: those in the token
	CredentialPassword   = "password"    // root's, as crypt(5) hashes it: taken where root has none yet
	CredentialInstall    = "install"     // the answers for an installation (docs/install.md)

	// InstallFile holds the answers for an installation, at the top of a FAT file system.
	InstallFile = "masthead-install.yaml"

	// StateLabel is the file system label by which a head finds its state disk.
	StateLabel = "masthead-state"
)

// Baked is what a build writes into the initramfs at InitramfsConfig: facts that are the same on every boot of the
// image. What differs by boot comes on the kernel command line.
type Baked struct {
	Name          string `json:"name"`
	Role          Role   `json:"role"`
	KernelRelease string `json:"kernel_release"`
	// SSHKeys are authorized_keys lines for root. They are public.
	SSHKeys []string `json:"ssh_keys,omitempty"`
	// Early modules are loaded before hardware is looked at: file systems, NBD, overlay.
	Early []string `json:"early"`
}
