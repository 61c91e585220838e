package node

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"masthead/images"
)

// keyJoin of the kernel command line tells a machine that boots as a head to join the cluster of a head, by its address;
// without a value, by the addresses in the token.
const keyJoin = "masthead.join"

// joinTokenFile is the file with the join token, at the top of a FAT file system: that of a stick, or the EFI partition
// of the stick that the machine boots from.
const joinTokenFile = "join-token"

// tokenWait is how long another stick than the one with the medium may take to appear.
const tokenWait = 10 * time.Second

// maxJoinToken is more than any token has.
const maxJoinToken = 8 << 10

// joinAddress is what the command line says of joining; the last word wins.
func joinAddress(cmdline string) (address string, wanted bool) {
	for _, word := range strings.Fields(cmdline) {
		key, value, _ := strings.Cut(word, "=")
		if key == keyJoin {
			address, wanted = strings.Trim(value, `"`), true
		}
	}
	return address, wanted
}

// wishToJoin hands the head what it needs to join a cluster by itself. A token that is not found is said, and the
// machine boots on: the head then waits for somebody who types the command.
func (in *Init) wishToJoin(ctx context.Context) error {
	address, wanted := joinAddress(in.cmdline)
	if !wanted || in.boot.Role != images.RoleHead {
		return nil
	}
	found := map[string]string{images.CredentialJoinAt: address}
	if in.credentials[images.CredentialJoin] == "" {
		if err := in.loader.Load(ctx, "vfat", ""); err != nil {
			in.log.Warn("read the join token", "err", err)
		}
		token, device, err := findJoinToken(ctx, "/sys", "/dev")
		if err != nil {
			in.log.Warn("no join token", "err", err, "try", "masthead head join "+address)
		} else {
			in.log.Info("join token", "device", device)
			found[images.CredentialJoin] = token
		}
	}
	return saveCredentials(found)
}

// findJoinToken waits for a FAT file system with the token in it.
func findJoinToken(ctx context.Context, sys, dev string) (token, device string, err error) {
	return onFAT(ctx, sys, dev, joinTokenFile, maxJoinToken, tokenWait)
}

// onFAT waits for a FAT file system with a file of that name at its top, and gives what is in it and the device. With no
// time to wait it looks once.
func onFAT(ctx context.Context, sys, dev, name string, most int64, wait time.Duration) (text, device string, err error) {
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	looked := map[string]error{}
	for {
		devices, err := os.ReadDir(filepath.Join(sys, "class/block"))
		if err != nil {
			return "", "", fmt.Errorf("find %s: %w", name, err)
		}
		for _, d := range devices {
			device := filepath.Join(dev, d.Name())
			if _, again := looked[device]; again || !isFAT(device) {
				continue
			}
			text, err := fileOn(device, name, most)
			if err == nil {
				return text, device, nil
			}
			looked[device] = err
		}
		select {
		case <-ctx.Done():
			var all []error
			for device, err := range looked {
				all = append(all, fmt.Errorf("%s: %w", device, err))
			}
			return "", "", fmt.Errorf("no FAT file system has a file %s: %w", name, errors.Join(append(all, ctx.Err())...))
		case <-tick.C:
		}
	}
}

// isFAT looks for the signature of a boot sector (FAT32 File System Specification, 3.1): at 510, and the type's name at
// 54, or 82 in FAT32. The name is no proof, which mounting is.
func isFAT(device string) bool {
	f, err := os.Open(device)
	if err != nil {
		return false
	}
	defer f.Close()
	var sector [512]byte
	if _, err := io.ReadFull(f, sector[:]); err != nil {
		return false
	}
	return sector[510] == 0x55 && sector[511] == 0xaa && (bytes.HasPrefix(sector[54:], []byte("FAT")) || bytes.HasPrefix(sector[82:], []byte("FAT32")))
}

// fileOn reads a file off a FAT file system. Its permissions are those of whoever holds the stick.
func fileOn(device, name string, most int64) (string, error) {
	dir, err := os.MkdirTemp("", "stick")
	if err != nil {
		return "", err
	}
	defer os.Remove(dir)
	if err := unix.Mount(device, dir, "vfat", unix.MS_RDONLY|unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
		return "", fmt.Errorf("mount: %w", err)
	}
	defer unix.Unmount(dir, 0)
	return readWhole(filepath.Join(dir, name), most)
}

// readWhole reads a file that must have something in it, and not more than most bytes.
func readWhole(file string, most int64) (string, error) {
	f, err := os.Open(file)
	if err != nil {
		return "", err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, most))
	if err != nil {
		return "", err
	}
	text := strings.TrimSpace(string(data))
	if text == "" {
		return "", fmt.Errorf("%s is empty", filepath.Base(file))
	}
	return text, nil
}
