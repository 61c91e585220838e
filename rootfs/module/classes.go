package module

// Server is what the initramfs of a server or a virtual machine needs to find its NIC, its medium and its root. What is
// only of use later (sound, graphics, netfilter, DRBD, IPVS) is loaded from the root.
//
// The result is a new table each time; a caller may add classes of its own.
func Server() []Class {
	return []Class{
		{
			Name:   "root",
			Reason: "every machine mounts EROFS from an NBD device, with an overlay on top",
			Need:   []string{"nbd", "erofs", "overlay"},
			Take:   []string{"loop", "zram", "lz4", "lz4_*", "zstd", "zstd_*", "zsmalloc", "crc32c_*", "libcrc32c", "crc32c-*"},
		},
		{
			Name:   "medium",
			Reason: "an ISO or a stick is found and mounted before there is a network",
			Need:   []string{"isofs", "sr_mod", "sd_mod", "vfat"},
			Take:   []string{"cdrom", "nls_cp437", "nls_ascii", "nls_utf8", "nls_iso8859_1", "udf", "squashfs"},
		},
		{
			Name:   "state",
			Reason: "a head finds its state on a disk, by its label",
			Take:   []string{"ext4", "xfs", "dm-mod", "raid0", "raid1", "raid10", "md-mod"},
		},
		{
			Name:   "ethernet",
			Reason: "a machine that booted from the network must get its root from there",
			Take: []string{
				"drivers/net/ethernet/**", "virtio_net", "vmxnet3", "hv_netvsc", "xen_netfront", "bonding", "8021q",
				"team", "team_mode_*", "macvlan", "fjes",
				"drivers/net/phy/*", "drivers/net/mdio/*", "drivers/net/pcs/*", // many NICs ask for their PHY's driver when they start
			},
			Leave: []string{
				"*_cs",                 // PCMCIA cards
				"dp83640", "mdio_*i2c", // a clock, and SFP cages on an I²C bus that no server's NIC drives itself
			},
		},
		{
			Name:   "ethernet by USB",
			Reason: "docking stations, BMCs that show a NIC on USB, and small machines without another",
			Take:   []string{"r8152", "r8153_ecm", "cdc_ether", "cdc_ncm", "cdc_eem", "ax88179_178a", "asix", "smsc75xx", "smsc95xx", "lan78xx", "aqc111", "rndis_host"},
		},
		{
			Name:   "infiniband",
			Reason: "clusters whose only fast network is IPoIB",
			Take:   []string{"ib_ipoib", "mlx4_ib", "mlx5_ib"},
		},
		{
			Name:   "buses",
			Reason: "the buses that NICs and disks of virtual machines hang on, and disks behind Intel's VMD",
			Take:   []string{"virtio_pci", "virtio_mmio", "hv_vmbus", "pci_hyperv", "xen_pcifront", "vmd", "vmw_vmci"},
		},
		{
			Name:   "disks",
			Reason: "the ISO's stick, a head's state and caches are on whatever disk controller the machine has",
			Take: []string{
				"nvme", "virtio_blk", "virtio_scsi", "xen_blkfront", "xen_scsifront", "hv_storvsc", "vmw_pvscsi", "mptspi", "mptsas",
				"ahci", "acard_ahci", "ata_piix", "ata_generic", "sata_*", "pata_jmicron", "pata_marvell",
				"megaraid_sas", "megaraid_mbox", "mpt3sas", "mpi3mr", "smartpqi", "hpsa", "aacraid", "arcmsr", "3w_sas", "3w_9xxx",
				"isci", "pm80xx", "mvsas", "mvumi", "mtip32xx", "hptiop", "esas2r", "stex",
				"ses", "sg",
			},
		},
		{
			Name:   "usb",
			Reason: "sticks, and keyboards and virtual media of BMCs, which are USB devices",
			Take: []string{
				"ehci_pci", "ohci_pci", "uhci_hcd", "xhci_pci", "xhci_pci_renesas", "usb_storage", "uas",
				"usbhid", "hid_generic", "hid_hyperv", "hyperv_keyboard", "hid_logitech_dj", "hid_apple", "hid_microsoft", "hid_cherry",
				"virtio_input",
			},
		},
		{
			Name:   "watchdogs",
			Reason: "a head whose init hangs must be reset before its partner takes over",
			Take:   []string{"drivers/watchdog/**", "i2c_i801", "lpc_ich"},
			Leave: []string{
				// Boards of 1998 and cards for them: they probe I/O ports blindly.
				"acquirewdt", "advantechwdt", "cpu5wdt", "eurotechwdt", "machzwd", "pc87413_wdt", "sbc60xxwdt", "sbc_epx_c3", "sbc_fitpc2_wdt",
				"sc1200wdt", "smsc37b787_wdt", "w83877f_wdt", "w83977f_wdt", "wafer5823wdt", "ibmasr", "ib700wdt", "pcwd_usb", "mei_wdt",
				"ni903x_wdt", "nic7018_wdt", "simatic_ipc_wdt", "kempld_wdt", "menf21bmc_wdt",
			},
		},
		{
			Name:   "consoles and identity",
			Reason: "serial consoles, and the DMI and QEMU tables that say which machine this is",
			Take: []string{
				"8250_exar", "8250_lpss", "jsm", "virtio_console", "usbserial", "ftdi_sio", "pl2303", "cp210x",
				"qemu_fw_cfg", "dmi_sysfs", "efivarfs", "virtio_rng", "pvpanic_pci", "vmgenid",
			},
		},
	}
}
