package main

import (
	"context"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"runtime"
	"strings"

	"masthead/appliance/configuration"
	"masthead/appliance/data"
	"masthead/appliance/install"
	"masthead/appliance/maker"
	"masthead/images"
	"masthead/images/disk"
	"masthead/node/agent"
	"masthead/node/slot"
	"masthead/node/wire"
)

// masterSelf is what the other machine has to know of this head to start from it.
type masterSelf struct {
	url    string
	ca     images.Digest
	image  images.Digest
	medium string // device
}

// lookMaster is this head as a plan sees it.
func lookMaster(ctx context.Context, c *wire.Client) (maker.Master, masterSelf, error) {
	medium, err := install.MediumDevice("/proc/self/mountinfo")
	if err != nil {
		return maker.Master{}, masterSelf{}, &hint{err, "start a head from an ISO (masthead build iso images/head.yaml); one that was set up by a script is cloned by: masthead head token, and the script on the other"}
	}
	status, err := c.Status(ctx)
	if err != nil {
		return maker.Master{}, masterSelf{}, err
	}
	left, err := agent.LoadConfig(images.RunNode)
	if err != nil {
		return maker.Master{}, masterSelf{}, err
	}
	m := maker.Master{Name: status.Name, Arch: runtime.GOARCH, Version: status.Version, Mkfs: programPath("mkfs.ext4") != "", Nodes: map[string]string{}, Owner: map[netip.Addr]string{}}
	self := masterSelf{ca: status.CA, image: left.Image, medium: medium}
	address, _, _ := strings.Cut(status.Address, " ") // ADDRESS/PREFIX on NIC
	if m.Address, err = netip.ParsePrefix(address); err != nil {
		return m, self, &hint{fmt.Errorf("%s has no address on a cluster network", m.Name), "masthead status"}
	}
	if err := lookImage(&m, medium); err != nil {
		return m, self, err
	}
	for _, h := range status.Heads {
		m.Heads = append(m.Heads, h.Name)
		m.Owner[h.Address] = "head " + h.Name
		if h.Self {
			self.url = h.URL()
		}
	}
	for _, n := range status.Nodes {
		m.Nodes[n.Name] = n.MAC
		if n.Address.IsValid() && m.Owner[n.Address] == "" {
			m.Owner[n.Address] = n.Name
		}
	}
	if err := lookDocument(ctx, c, &m); err != nil {
		return m, self, err
	}
	lookLogins(&m)
	return m, self, nil
}

// lookImage reads the ISO that this head runs from, and how it came by its address.
func lookImage(m *maker.Master, medium string) error {
	f, volume, err := install.OpenISO(medium)
	if err != nil {
		return err
	}
	defer f.Close()
	if m.Source, _, err = volume.Head(); err != nil {
		return fmt.Errorf("%s: %w", medium, err)
	}
	_, err = fs.Stat(os.DirFS(images.MediumMount), disk.LoaderDir+"/"+disk.LoaderCore)
	m.Loader = err == nil
	if cmdline, err := os.ReadFile("/proc/cmdline"); err == nil {
		boot, _ := images.ParseBoot(string(cmdline)) // what makes no sense was said at boot
		m.Gateway, m.DNS = boot.Gateway, boot.DNS
	}
	if here, err := slot.Find("/sys", "/proc", "/dev"); err == nil {
		part, _ := here.Table.Find(disk.NameData)
		m.Data = part.Size
	}
	return nil
}

// lookDocument reads what of the cluster's configuration concerns another head.
func lookDocument(ctx context.Context, c *wire.Client, m *maker.Master) error {
	now, err := c.Cluster(ctx)
	if err != nil {
		return err
	}
	doc, err := configuration.Parse("the cluster's configuration", []byte(now.Text))
	if err != nil {
		return &hint{err, "masthead cluster edit"}
	}
	for _, v := range doc.Addresses() {
		m.Owner[v.Address.Addr()] = "the cluster, as a virtual address,"
	}
	for _, v := range doc.Data {
		if v.Device == "" || v.Device == data.DefaultDevice {
			m.Volumes = append(m.Volumes, v.Name)
		}
	}
	return nil
}

// lookLogins takes over who may log in on this head: they are the same on the other one.
func lookLogins(m *maker.Master) {
	if text, err := os.ReadFile("/etc/shadow"); err == nil {
		for line := range strings.Lines(string(text)) {
			if f := strings.Split(line, ":"); len(f) > 1 && f[0] == "root" && strings.HasPrefix(f[1], "$") {
				m.PasswordHash = f[1]
			}
		}
	}
	if text, err := os.ReadFile("/root/.ssh/authorized_keys"); err == nil {
		for line := range strings.Lines(string(text)) {
			if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
				m.SSHKeys = append(m.SSHKeys, line)
			}
		}
	}
}
