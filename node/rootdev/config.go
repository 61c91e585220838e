package rootdev

import (
	"errors"
	"fmt"
	"os"

	"masthead/images"
	"masthead/node/rootdev/chunks"
	"masthead/node/rootdev/nbd"
	"masthead/node/wire"
)

// Heads says how to fetch chunks from heads.
type Heads struct {
	Heads []wire.Head   `json:"heads,omitempty"` // in the order to try; their URLs hold addresses, not names
	CA    images.Digest `json:"ca,omitempty"`
	Token string        `json:"token,omitempty"` // of this boot
}

// Config is what a root device is made of. It travels to the process as JSON, since it holds a token.
type Config struct {
	Image    images.Digest `json:"image"`
	Manifest []byte        `json:"manifest"` // its bytes, which must have the digest Image
	Heads    Heads         `json:"heads"`
	Store    string        `json:"store,omitempty"` // directory of an images.Store that is asked first; empty: none

	Mode  images.RootMode `json:"mode"`            // empty: lazy
	Cache int64           `json:"cache,omitempty"` // bytes of stored chunks in memory; 0: by the machine's memory
	Order []int           `json:"order,omitempty"` // chunks to prefetch, first things first; nil: all in their order

	Disk      string `json:"disk,omitempty"`       // directory that keeps chunks over reboots; empty: none
	DiskBound int64  `json:"disk_bound,omitempty"` // bytes

	Control  string `json:"control,omitempty"`  // path of the control socket; empty: none
	TakeOver string `json:"takeover,omitempty"` // device whose process died, to be served on; empty: a new device

	Pack     *os.File             `json:"-"` // a Pack, asked before the heads; nil: none. Stays the caller's
	Notify   func(wire.Event)     `json:"-"` // must not block; nil: nobody
	Progress func(Progress) error `json:"-"` // told while loading and, once, when the device is there; nil: nobody
	Memory   int64                `json:"-"` // bytes of the machine; 0: ask the kernel
	Kernel   Kernel               `json:"-"` // nil: the real one
}

// Progress is how far a root device has come.
type Progress struct {
	Present int    `json:"present,omitempty"` // chunks of a root that is loaded whole
	Chunks  int    `json:"chunks,omitempty"`  // of all
	Device  string `json:"device,omitempty"`  // set when it can be mounted
	Error   string `json:"error,omitempty"`   // set when it never will
}

// Kernel attaches block devices; see package nbd for what the calls do.
type Kernel interface {
	Connect(fd int, size int64) (nbd.Device, error)
	Reconnect(d nbd.Device, fd int) error
	Disconnect(d nbd.Device) error
	Tune(d nbd.Device) error
}

type realKernel struct{}

func (realKernel) Connect(fd int, size int64) (nbd.Device, error) { return nbd.Connect(fd, size) }
func (realKernel) Reconnect(d nbd.Device, fd int) error           { return d.Reconnect(fd) }
func (realKernel) Disconnect(d nbd.Device) error                  { return d.Disconnect() }
func (realKernel) Tune(d nbd.Device) error                        { return d.Tune("/sys", nbd.DefaultTuning) }

// validate checks the configuration and gives the manifest.
func (c Config) validate() (images.Manifest, error) {
	m, err := images.VerifyManifest(c.Manifest, c.Image)
	if err != nil {
		return images.Manifest{}, fmt.Errorf("root device: %w", err)
	}
	var errs []error
	if c.Mode != "" && c.Mode != images.RootLazy && c.Mode != images.RootRAM {
		errs = append(errs, fmt.Errorf("root device: mode %q: want lazy or ram", c.Mode))
	}
	if len(c.Heads.Heads) == 0 && c.Pack == nil && c.Store == "" {
		errs = append(errs, errors.New("root device: no head, pack or store to fetch chunks from"))
	}
	if m.Root.Size%nbd.BlockSize != 0 {
		errs = append(errs, fmt.Errorf("root device: the root's %d bytes are not whole blocks of %d", m.Root.Size, nbd.BlockSize))
	}
	if c.TakeOver != "" {
		if _, err := nbd.ParseDevice(c.TakeOver); err != nil {
			errs = append(errs, fmt.Errorf("root device: %w", err))
		}
	}
	return m, errors.Join(errs...)
}

// sources are the heads of h.
func (h Heads) sources() []chunks.Source {
	var list []chunks.Source
	for _, head := range h.Heads {
		list = append(list, chunks.Head(wire.NewClient(head.URL, h.CA, h.Token)))
	}
	return list
}

// local are the sources on the machine itself, which are asked before any head.
func (c Config) local() ([]chunks.Source, error) {
	var list []chunks.Source
	if c.Store != "" {
		s, err := images.OpenStore(c.Store)
		if err != nil {
			return nil, fmt.Errorf("root device: %w", err)
		}
		list = append(list, chunks.Blobs("store", s))
	}
	if c.Pack != nil {
		st, err := c.Pack.Stat()
		if err != nil {
			return nil, fmt.Errorf("root device: pack: %w", err)
		}
		p, err := images.OpenPack(c.Pack, st.Size())
		if err != nil {
			return nil, fmt.Errorf("root device: %w", err)
		}
		list = append(list, chunks.Blobs("pack", p))
	}
	return list, nil
}
