package node

import (
	"fmt"
	"os"
	"strings"

	"masthead/images"
)

// duties are what of ours runs on a machine.
type duties struct {
	role    images.Role
	slot    bool // it runs from a slot of an installed disk
	install bool // it is here to be installed, and to do nothing else
	// consoles are where somebody is asked how to install it, and nothing else is done; none: nobody is.
	consoles []string
}

func (in *Init) duties() duties {
	asked := in.credentials[images.CredentialInstall] != "" && in.boot.Role == images.RoleHead && in.pack != nil
	d := duties{role: in.boot.Role, slot: in.disk != nil, install: asked && in.disk == nil}
	if !d.install && in.boot.Install == images.InstallByAsking && in.boot.Role == images.RoleHead && in.pack != nil && in.disk == nil {
		active, err := os.ReadFile("/sys/class/tty/console/active")
		if err != nil {
			in.log.Warn("consoles", "err", err)
		}
		d.consoles = consoles(string(active))
	}
	return d
}

// consoles are the terminals of the kernel's consoles: tty0 is whichever of the screen is shown, which is the first.
func consoles(active string) []string {
	all := strings.Fields(active)
	for i, name := range all {
		if name == "tty0" {
			all[i] = "tty1"
		}
	}
	return all
}

// units are what systemd runs of ours: the agent on every machine, and the head's service on a head. They are
// generated into /run, so that nothing need be in the image. They need nothing that systemd brings up, so they start
// first (no default dependencies): a machine that hangs later in its boot can already be asked why, and a head serves
// while its distribution is still starting. Only an orderly shutdown ends them.
func units(d duties) []file {
	unit := func(name, description, command, restart, extra string) file {
		return file{Path: "/run/systemd/system/" + name, Mode: 0o644, Content: "[Unit]\nDescription=" + description +
			"\nDocumentation=man:masthead(1)\nDefaultDependencies=no\nConflicts=shutdown.target\nBefore=shutdown.target\n" +
			"StartLimitIntervalSec=0\n\n[Service]\nExecStart=" + images.RunBinary + " " + command +
			"\nRestart=" + restart + "\n" + extra}
	}
	if d.install {
		return []file{unit("masthead-install.service", "masthead installation", installCommand, "no", onConsole)}
	}
	if len(d.consoles) > 0 {
		var all []file
		for _, tty := range d.consoles {
			all = append(all, unit("masthead-install-"+tty+".service", "masthead installation on "+tty, "install", "always", fmt.Sprintf(askOn, tty)),
				file{Path: "/run/systemd/system/getty@" + tty + ".service", Mode: 0o644}, file{Path: "/run/systemd/system/serial-getty@" + tty + ".service", Mode: 0o644})
		}
		return all
	}
	all := []file{unit("masthead-agent.service", "masthead agent", "agent", "always", "RestartSec=1\nOOMScoreAdjust=-900\n")}
	if d.role == images.RoleHead {
		all = append(all,
			unit("masthead-head.service", "masthead head node", "head run", "always", "RestartSec=1\nOOMScoreAdjust=-900\nLimitNOFILE=65536\n"),
			unit("masthead-owner.service", "masthead owner daemon", "owner run", "always", ownerUnit))
	}
	if d.slot {
		all = append(all, unit("masthead-slot.service", "masthead health check of the slot", slotCommand, "on-failure", "RestartSec=1\nOOMScoreAdjust=-900\n"+onConsole))
	}
	return all
}

// askOn has a service talk with whoever sits at a terminal, once the boot has nothing more to say there. What ends it, a Ctrl-C
// as well, begins it again. Drivers that are loaded late do not write over the questions.
const askOn = `Type=idle
ExecStartPre=-/bin/dmesg --console-level emerg
RestartSec=1
StandardInput=tty
StandardOutput=tty
StandardError=tty
TTYPath=/dev/%s
TTYReset=yes
TTYVHangup=yes
Environment=TERM=linux

[Unit]
After=systemd-user-sessions.service getty-pre.target
`

// onConsole is for what somebody at the machine waits for: an installation, and how the first start of an upgrade goes.
const onConsole = "StandardOutput=journal+console\nStandardError=journal+console\n"

// What the services run that end by themselves.
const (
	installCommand = "install --unattended --from " + images.CredentialsDir + "/" + images.CredentialInstall
	slotCommand    = "slot confirm"
)
