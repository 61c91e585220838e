package data

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/google/renameio/v2"

	"masthead/appliance/failover"
)

// Config is what a Set needs.
type Config struct {
	Resources
	Self string // this head, one of the hosts
	Dir  string // for DRBD's file and for notes; it is gone after a boot
	// Handler is the program that the kernel asks (fence-peer and the others), by a name for which it knows that; empty: the
	// kernel keeps the one it has.
	Handler string
	Load    func(module string) error // into the kernel; nil: it is there
	Tools   Tools                     // zero: the machine's
	Now     func() failover.Instant
	Log     *slog.Logger
	Event   func(text string, bad bool) // nil: only the log
}

// Set is the copies of this head. It may be used from several goroutines.
type Set struct {
	cfg     Config
	changed chan struct{}

	laying sync.Mutex // held while a volume group is changed: volumes may share one

	mu      sync.Mutex // over what follows
	ended   bool       // Run has
	volumes []*volume
	left    []*volume      // that the configuration does not have any more
	minors  map[int]string // the resources that the kernel has devices of, whoever made them
	noTools bool           // drbdsetup is not installed
	view    View
	lost    failover.Instant // DataLost of the decision that gave view.Word
	ready   bool             // the kernel has said all that it has
	trouble string           // with DRBD as such
	signal  chan struct{}    // closed and replaced at each change
}

// volume is one copy.
type volume struct {
	Volume
	minor       int // of its device
	look        Look
	uuid        string // generation of the data, as DRBD names it
	trouble     string // why the last step failed
	failed      failover.Instant
	busy        bool // with step
	did         deed // the last step that was done
	step        Step
	why         string
	verified    time.Time // when the two copies were last compared, and how many KiB differed
	differences int64
	force       bool // a person says that a new volume is to be made without the other copy
	poke        chan struct{}
	resync      chan struct{} // the other copy is about to be brought up to date
	pace        pace
	uuidFor     string           // what the copy was like when uuid was read
	pool        string           // what is wrong with the pool of its snapshots
	shown       map[string]int   // how many look at a snapshot
	asking      int              // questions of DRBD whether the other head may still write to its copy
	leaves      bool             // it is being taken from the kernel, on purpose
	half        failover.Instant // since when the kernel has it without a device
}

// confFile is DRBD's configuration below Config.Dir.
const confFile = "drbd.conf"

// New prepares the copies. It touches the machine only in Run.
func New(cfg Config) (*Set, error) {
	if cfg.Now == nil || cfg.Self == "" || cfg.Dir == "" {
		return nil, errors.New("data: Config needs Self, Dir and Now")
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Tools.Run == nil {
		cfg.Tools = Tools{runTool, runLong, watchTool, filesystemOn, blank, inUse, inKernel}
	}
	if cfg.Event == nil {
		cfg.Event = func(string, bool) {}
	}
	s := &Set{cfg: cfg, changed: make(chan struct{}, 1), signal: make(chan struct{}), minors: map[int]string{}}
	for _, v := range numbered(cfg.Volumes) {
		one := newVolume(v)
		one.look.Note = s.readNote(v.Name)
		s.volumes = append(s.volumes, one)
	}
	left, err := Left(cfg.Dir, cfg.Volumes)
	if err != nil {
		return nil, err
	}
	for _, v := range left {
		s.left = append(s.left, newVolume(v))
	}
	return s, nil
}

func newVolume(v Volume) *volume {
	look := Look{Volume: v.Name, Minor: v.minor(0)}
	return &volume{Volume: v, minor: look.Minor, look: look, poke: make(chan struct{}, 1), resync: make(chan struct{}, 1), failed: -1, did: deed{at: -settleTime}}
}

// Changed is sent to when the readings may be other than before.
func (s *Set) Changed() <-chan struct{} { return s.changed }

// tell wakes all that wait. The caller holds mu.
func (s *Set) tell() {
	close(s.signal)
	s.signal = make(chan struct{})
	notify(s.changed)
	for _, v := range s.volumes {
		notify(v.poke)
	}
	for _, v := range s.left {
		notify(v.poke)
	}
}

func notify(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// See takes what the owner daemon knows, and for which loss of the other copy its word was given.
func (s *Set) See(v View, lost failover.Instant) {
	s.mu.Lock()
	defer s.mu.Unlock()
	before, now := s.view, v
	news := s.lost != lost
	s.view, s.lost = v, lost
	before.Now, now.Now, before.Peer.Heard, now.Peer.Heard = 0, 0, 0, 0
	for _, one := range s.volumes {
		if note := one.look.Noted(v); note != one.look.Note {
			one.look.Note = note
			s.writeNote(one)
		}
	}
	if before != now || news {
		s.tell()
	} else {
		for _, one := range s.volumes {
			if one.look.left(v) {
				notify(one.poke)
			}
		}
	}
}

// Standing is how the copies of this head stand together, for the decision who owns.
type Standing struct {
	Data failover.Data    // the worst of them
	Lost failover.Instant // since when the last of them is not connected
	// Parted, Older and Have are those of which each is true: see failover.View and failover.Said.
	Parted, Older, Have failover.Volumes
	UUID                string // generations of all of which this head has, or had, data
	// Ill says why this head should not own though its copies may be written to; empty: nothing.
	Ill string
	// Connected: all of them are, but those that nothing was ever written to.
	Connected bool
	// Frozen: writes to one of them wait for the arbiter's word.
	Frozen bool
	// Mirrored: whether what is written here reaches the other copies now, and they are up to date.
	Mirrored failover.Reading
}

// Standing reads them, with the view of now.
func (s *Set) Standing(v View) Standing {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := Standing{Connected: s.ready, Mirrored: failover.Up}
	var all []failover.Data
	var uuids []string
	for _, one := range s.volumes {
		r := one.look.Reading(v)
		if !s.ready {
			r = failover.DataUnknown
		}
		all = append(all, r)
		c, bit := one.look.Copy, one.look.Bit()
		if s.ready {
			// DRBD asks before its events tell that the connection is lost.
			if one.asking > 0 || one.look.Parted(v) {
				out.Parted |= bit
			}
			if one.look.Older() {
				out.Older |= bit
			}
			if HasData(r) {
				out.Have |= bit
			}
		}
		if r != failover.NoData {
			out.Connected = out.Connected && c.Connected()
			if !c.Connected() || c.PeerDisk != upToDate {
				out.Mirrored = failover.Down
			}
		}
		out.Frozen = out.Frozen || c.Frozen()
		out.Lost = max(out.Lost, one.look.Lost)
		if g := cmp.Or(one.uuid, recorded(v.Record.DataUUID, one.Name)); g != "" {
			uuids = append(uuids, one.Name+":"+g)
		}
		if c.Role == primary && (c.Disk == "Diskless" || c.Disk == "Failed" || c.Disk == "Detaching") {
			out.Ill = fmt.Sprintf("its disk with the volume %s is %s", one.Name, strings.ToLower(c.Disk))
		}
	}
	for _, one := range s.left { // its service may be stopping, and DRBD asks for its last writes as well
		c := one.look.Copy
		alone := s.ready && c.Role == primary && !c.Connected()
		if alone || s.ready && one.asking > 0 {
			out.Parted |= one.look.Bit()
		}
		if alone {
			all = append(all, one.look.Reading(v))
			out.Connected, out.Frozen, out.Mirrored = false, out.Frozen || c.Frozen(), failover.Down
			out.Lost = max(out.Lost, one.look.Lost)
		}
	}
	if !s.ready {
		out.Mirrored = failover.Unknown
	}
	out.Data, out.UUID = Worst(all...), strings.Join(uuids, ",")
	return out
}

// Run keeps the copies as they are to be until ctx ends. Then they stay as they are.
func (s *Set) Run(ctx context.Context) error {
	defer s.end()
	if ctx.Err() != nil {
		return nil // another one has replaced it before it began
	}
	for err := s.prepare(); err != nil; err = s.prepare() { // a full disk, a module that is installed later
		s.mu.Lock()
		s.troubled(err)
		s.mu.Unlock()
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(watchAgain):
		}
	}
	var all sync.WaitGroup
	all.Go(s.loadFilesystems)
	all.Go(func() { s.watch(ctx) })
	for _, v := range slices.Clone(s.left) { // which gets shorter
		all.Go(func() { s.leave(ctx, v) })
	}
	for _, v := range s.volumes {
		all.Go(func() { s.keep(ctx, v) })
		if v.snapshotsBy() != "" {
			all.Go(func() { s.schedule(ctx, v) })
		}
	}
	all.Wait()
	return nil
}

// end tells those who wait that nothing is done any more.
func (s *Set) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended = true
	s.tell()
}

// prepare loads the module, and writes DRBD's file.
func (s *Set) prepare() error {
	used := len(s.cfg.Volumes) > 0 // else there is only what the kernel is to let go of
	if s.cfg.Load != nil && used {
		if err := s.cfg.Load("drbd"); err != nil {
			return fmt.Errorf("data: load the kernel's DRBD: %w", err)
		}
	}
	if s.cfg.Handler != "" && used {
		const parameter = "/sys/module/drbd/parameters/usermode_helper"
		if err := os.WriteFile(parameter, []byte(s.cfg.Handler), 0); err != nil {
			return fmt.Errorf("data: name the handler to the kernel: %w", err)
		}
	}
	s.cfg.Major = kernelMajor()
	if err := os.MkdirAll(s.cfg.Dir, 0o700); err != nil {
		return fmt.Errorf("data: %w", err)
	}
	s.mu.Lock()
	err := s.writeGiven()
	s.mu.Unlock()
	if err != nil {
		return err
	}
	if err := renameio.WriteFile(s.conf(), []byte(s.cfg.Render()), 0o600); err != nil {
		return fmt.Errorf("data: write DRBD's configuration: %w", err)
	}
	return nil
}

// loadFilesystems has the kernel load what mounts the volumes before a takeover needs it: what btrfs needs measures the
// processor first, for up to a second.
func (s *Set) loadFilesystems() {
	if s.cfg.Load == nil {
		return
	}
	var loaded []string
	for _, v := range s.cfg.Volumes {
		name := v.filesystem()
		if slices.Contains(loaded, name) {
			continue
		}
		loaded = append(loaded, name)
		if err := s.cfg.Load(name); err != nil { // the kernel may have it built in; else the mount says so
			s.cfg.Log.Debug("load a file system", "module", name, "err", err)
		}
	}
}

func (s *Set) conf() string { return filepath.Join(s.cfg.Dir, confFile) }

// kernelMajor is the version of the kernel's DRBD. The kernels of distributions have 8.4; 9 is a module of its own.
func kernelMajor() int {
	data, err := os.ReadFile("/sys/module/drbd/version")
	if err == nil && strings.HasPrefix(string(data), "9") {
		return 9
	}
	return 8
}

// watchAgain is the pause before the events are followed again after their program has ended.
const watchAgain = time.Second

// watch follows what DRBD says.
func (s *Set) watch(ctx context.Context) {
	for ctx.Err() == nil {
		first := map[string]*Copy{} // until all that exists was said
		err := s.follow(ctx, first)
		if ctx.Err() != nil {
			return
		}
		if err == nil {
			err = errors.New("drbdsetup events2 has ended")
		}
		s.mu.Lock()
		s.ready = false
		clear(s.minors)
		var none *missing
		s.noTools = errors.As(err, &none)
		s.troubled(err)
		s.tell()
		s.mu.Unlock()
		select {
		case <-ctx.Done():
		case <-time.After(watchAgain):
		}
	}
}

func (s *Set) follow(ctx context.Context, first map[string]*Copy) error {
	return s.cfg.Tools.Watch(ctx, func(r io.Reader) error {
		return readEvents(r, func(e Event) { s.heard(e, first) })
	}, "drbdsetup", "events2", "--statistics", "all")
}

// heard takes an event.
func (s *Set) heard(e Event, first map[string]*Copy) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.heardMinor(e)
	if s.ready {
		if v := byName(s.left, e.Keys["name"]); v != nil {
			v.look.Copy.Apply(e)
			s.tell()
		} else if v := s.named(e.Keys["name"]); v != nil {
			c := v.look.Copy
			c.Apply(e)
			s.became(v, c)
		}
		return
	}
	if e.Object != "-" {
		if first[e.Keys["name"]] == nil {
			first[e.Keys["name"]] = &Copy{}
		}
		first[e.Keys["name"]].Apply(e)
		return
	}
	s.ready = true
	s.troubled(nil)
	said := func(name string) Copy {
		c := first[name]
		delete(first, name) // what is left has a name before what waits for it
		if c == nil {
			return Copy{}
		}
		return *c
	}
	for _, v := range s.left {
		v.look.Copy = said(v.Name)
	}
	for _, v := range s.volumes {
		s.became(v, said(v.Name))
	}
	s.tell()
}

// heardMinor notes which resource has a device. The caller holds mu.
func (s *Set) heardMinor(e Event) {
	minor, err := strconv.Atoi(e.Keys["minor"])
	switch {
	case e.Object != "device" || err != nil:
	case e.Verb != "destroy":
		s.minors[minor] = e.Keys["name"]
	case s.minors[minor] == e.Keys["name"]:
		delete(s.minors, minor)
	}
}

// became takes how a copy stands now. The caller holds mu.
func (s *Set) became(v *volume, c Copy) {
	before := v.look.Copy
	if before == c {
		return
	}
	if before.Connected() && !c.Connected() {
		v.look.Lost = s.cfg.Now()
	}
	if c.half() && !before.half() {
		v.half = s.cfg.Now()
	}
	v.look.Copy = c
	if c.Connected() || c.Role == primary {
		v.look.WentBack = 0 // DRBD knows by itself again how it stands
	}
	if verifying(before) && c.Connected() && !c.Syncing() {
		v.verified, v.differences = time.Now().UTC(), c.OutOfSync
	}
	if note := v.look.Noted(s.view); note != v.look.Note {
		v.look.Note = note
		s.writeNote(v)
	}
	if text := story(before, c); text != "" && !v.leaves {
		s.cfg.Event("data "+v.Name+": "+text, bad(before, c))
	}
	v.leaves = v.leaves && c.There
	s.tell()
}

// troubled keeps what is wrong with DRBD as such, and tells it once. The caller holds mu.
func (s *Set) troubled(err error) {
	text := ""
	if err != nil {
		text = err.Error()
	}
	if text != s.trouble && text != "" {
		s.cfg.Event("data: "+text, true)
	}
	s.trouble = text
}
