package node

import "masthead/images"

// duties are what of ours runs on a machine.
type duties struct {
	role    images.Role
	slot    bool // it runs from a slot of an installed disk
	install bool // it is here to be installed, and to do nothing else
}

func (in *Init) duties() duties {
	asked := in.credentials[images.CredentialInstall] != "" && in.boot.Role == images.RoleHead && in.pack != nil
	return duties{role: in.boot.Role, slot: in.disk != nil, install: asked && in.disk == nil}
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

// onConsole is for what somebody at the machine waits for: an installation, and how the first start of an upgrade goes.
const onConsole = "StandardOutput=journal+console\nStandardError=journal+console\n"

// What the services run that end by themselves.
const (
	installCommand = "install --unattended --from " + images.CredentialsDir + "/" + images.CredentialInstall
	slotCommand    = "slot confirm"
)
