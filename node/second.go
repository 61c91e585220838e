package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"time"

	"github.com/u-root/u-root/pkg/boot/kexec"
	"golang.org/x/sys/unix"

	"masthead/images"
	"masthead/node/agent"
)

// Signals that end the machine, as in sysvinit's and BusyBox's init, so that the commands people know work.
const (
	signalPowerOff = unix.SIGUSR2
	signalHalt     = unix.SIGUSR1
	signalReboot   = unix.SIGINT // also what the kernel sends on Ctrl-Alt-Delete
	signalKexec    = unix.SIGHUP // into the kernel loaded with kexec_file_load
)

// stopGrace is what processes get between SIGTERM and SIGKILL at shutdown.
const stopGrace = 5 * time.Second

// restartPause keeps a service that ends at once from taking the processor. The owner daemon has to be back within its
// lease.
const (
	restartPause = time.Second
	ownerPause   = 50 * time.Millisecond
)

// Second is PID 1 of a root without an init of its own: it starts our services and a shell on the console, starts them
// again when they end, reaps, and ends the machine on a signal. It returns only if that fails.
func Second(log *slog.Logger) error {
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, signalPowerOff, signalHalt, signalReboot, signalKexec)
	children := make(chan os.Signal, 1)
	signal.Notify(children, unix.SIGCHLD)
	// Ctrl-Alt-Delete is ours, not an immediate reset.
	_ = unix.Reboot(unix.LINUX_REBOOT_CMD_CAD_OFF)

	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	running := map[int]service{}
	again := make(chan service)
	later := func(s service) {
		pause := restartPause
		if s.name == "owner" {
			pause = ownerPause
		}
		time.AfterFunc(pause, func() {
			select {
			case again <- s:
			case <-ctx.Done():
			}
		})
	}
	for _, s := range services(dutiesOf(log)) {
		if !start(ctx, s, running, log) {
			later(s)
		}
	}
	for {
		select {
		case <-children:
			for _, s := range reap(running, log) {
				later(s)
			}
		case s := <-again:
			if !start(ctx, s, running, log) {
				later(s)
			}
		case sig := <-signals:
			cancel()
			return end(sig, log)
		}
	}
}

// service is a process that PID 1 keeps running.
type service struct {
	name    string
	command func(context.Context) *exec.Cmd
	again   restart
}

// restart says when a service that has ended is started again.
type restart int

const (
	always restart = iota
	onFailure
	never
)

// due reports whether a service is to be started again that ended so.
func (r restart) due(s unix.WaitStatus) bool {
	return r == always || r == onFailure && !(s.Exited() && s.ExitStatus() == 0)
}

func services(d duties) []service {
	self := func(args ...string) func(context.Context) *exec.Cmd {
		return func(ctx context.Context) *exec.Cmd {
			cmd := exec.Command(images.RunBinary, args...)
			cmd.Env = environment()
			cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
			cmd.SysProcAttr = &unix.SysProcAttr{Setsid: true}
			return cmd
		}
	}
	sh := service{"shell", func(context.Context) *exec.Cmd { return shell(context.Background()) }, always}
	if d.install {
		return []service{{"install", self(strings.Fields(installCommand)...), never}, sh}
	}
	all := []service{{"agent", self("agent"), always}}
	if d.role == images.RoleHead {
		all = append(all, service{"head", self("head", "run"), always}, service{"owner", self("owner", "run"), always})
	}
	if d.slot {
		all = append(all, service{"slot", self(strings.Fields(slotCommand)...), onFailure})
	}
	return append(all, sh)
}

// start starts a service, and reports whether it runs: a machine short of memory or processes may have to try again.
func start(ctx context.Context, s service, running map[int]service, log *slog.Logger) bool {
	if ctx.Err() != nil {
		return true // the machine ends: nothing is to be started any more
	}
	cmd := s.command(ctx)
	if err := cmd.Start(); err != nil {
		log.Error("start", "service", s.name, "err", err)
		return false
	}
	running[cmd.Process.Pid] = s
	// The process is reaped by reap, with all the others that PID 1 inherits; exec's own Wait is never called.
	_ = cmd.Process.Release()
	return true
}

// reap collects every child that has ended and gives those that are to be started again.
func reap(running map[int]service, log *slog.Logger) (ended []service) {
	for {
		var status unix.WaitStatus
		pid, err := unix.Wait4(-1, &status, unix.WNOHANG, nil)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if pid <= 0 || err != nil {
			return ended
		}
		if s, ok := running[pid]; ok {
			delete(running, pid)
			if !s.again.due(status) {
				continue
			}
			ended = append(ended, s)
			if s.name != "shell" {
				log.Warn("service ended", "service", s.name, "status", describe(status))
			}
		}
	}
}

func describe(s unix.WaitStatus) string {
	if s.Signaled() {
		return s.Signal().String()
	}
	return fmt.Sprintf("exit status %d", s.ExitStatus())
}

// end stops every process but those that serve the root, writes out what is unwritten and ends the machine.
func end(sig os.Signal, log *slog.Logger) error {
	log.Info("shutting down", "signal", sig.String())
	if err := stopAll(stopGrace); err != nil {
		log.Warn("stop processes", "err", err)
	}
	switch sig {
	case signalPowerOff:
		return reboot(unix.LINUX_REBOOT_CMD_POWER_OFF)
	case signalHalt:
		return reboot(unix.LINUX_REBOOT_CMD_HALT)
	case signalKexec:
		unix.Sync()
		if err := kexec.Reboot(); err != nil {
			log.Error("kexec: restarting through the firmware instead", "err", err)
		}
	}
	return reboot(unix.LINUX_REBOOT_CMD_RESTART)
}

// dutiesOf is what init decided that this machine does. A machine whose note cannot be read runs as a worker: that starts
// nothing which a second head could fight over.
func dutiesOf(log *slog.Logger) duties {
	cfg, err := agent.LoadConfig(images.RunNode)
	if err != nil {
		log.Error("what init left", "err", err)
		return duties{role: images.RoleWorker}
	}
	return duties{role: cfg.Role, slot: cfg.Slot, install: cfg.Install}
}
