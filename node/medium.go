package node

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"masthead/images"
)

// mediumWait is how long a slow USB stick or a BMC's virtual CD may take to appear: some enumerate only seconds after
// their controller.
const mediumWait = 30 * time.Second

// The primary volume descriptor of ECMA-119 8.4: sector 16, "CD001" at byte 1, the volume identifier at byte 40, the
// number of sectors at byte 80.
const (
	isoSector        = 2048
	isoDescriptor    = 16 * isoSector
	isoVolumeID      = 40
	isoVolumeIDBytes = 32
	isoVolumeSize    = 80
)

// findMedium waits for the block device that holds our ISO 9660 volume. A stick shows it twice, as the whole disk and
// as a partition; the whole disk comes first in order and is as good.
func findMedium(ctx context.Context, sys, dev string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, mediumWait)
	defer cancel()
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	var seen []string
	for {
		devices, err := os.ReadDir(filepath.Join(sys, "class/block"))
		if err != nil {
			return "", fmt.Errorf("find the boot medium: %w", err)
		}
		seen = seen[:0]
		for _, d := range devices {
			if strings.HasPrefix(d.Name(), "loop") || strings.HasPrefix(d.Name(), "nbd") || strings.HasPrefix(d.Name(), "ram") {
				continue
			}
			label, err := isoLabel(filepath.Join(dev, d.Name()))
			if err == nil && label == images.MediumLabel {
				return filepath.Join(dev, d.Name()), nil
			}
			seen = append(seen, d.Name())
		}
		select {
		case <-ctx.Done():
			slices.Sort(seen)
			return "", fmt.Errorf("no disk, stick or CD with the label %s appeared in %v; block devices seen: %s",
				images.MediumLabel, mediumWait, orNone(seen))
		case <-tick.C:
		}
	}
}

func orNone(s []string) string {
	if len(s) == 0 {
		return "none"
	}
	return strings.Join(s, " ")
}

// isoLabel reads the volume identifier of an ISO 9660 file system.
func isoLabel(file string) (string, error) {
	f, err := os.Open(file)
	if err != nil {
		return "", err
	}
	defer f.Close()
	var d [isoVolumeID + isoVolumeIDBytes]byte
	if _, err := f.ReadAt(d[:], isoDescriptor); err != nil {
		return "", err
	}
	if string(d[1:6]) != "CD001" {
		return "", errors.New("not ISO 9660")
	}
	return strings.TrimRight(string(d[isoVolumeID:]), " \x00"), nil
}

// checkWhole tells a medium that was not copied whole from one that was. Most of it would work: what is missing at its
// end are images that only workers ask for, days later.
func checkWhole(device string) error {
	f, err := os.Open(device)
	if err != nil {
		return fmt.Errorf("check the medium: %w", err)
	}
	defer f.Close()
	var d [isoVolumeSize + 4]byte
	if _, err := f.ReadAt(d[:], isoDescriptor); err != nil {
		return fmt.Errorf("check the medium: %w", err)
	}
	have, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return fmt.Errorf("check the medium: %w", err)
	}
	if want := int64(binary.LittleEndian.Uint32(d[isoVolumeSize:])) * isoSector; have < want {
		return &hint{fmt.Errorf("the medium %s is truncated: %d bytes of %d are there", device, have, want), "write the medium again"}
	}
	return nil
}

// openMedium mounts the boot medium, which find finds, and opens the pack on it. The mount moves with /run into the root
// and stays for as long as the machine runs. before is called while the medium is there and not mounted: from then on the
// kernel lets nobody mount a partition of it.
func openMedium(ctx context.Context, find func(context.Context) (string, error), before func(context.Context) error) (device string, pack *images.Pack, err error) {
	device, err = find(ctx)
	if err != nil {
		return "", nil, err
	}
	if err := checkWhole(device); err != nil {
		return "", nil, err
	}
	if err := before(ctx); err != nil {
		return "", nil, err
	}
	if err := os.MkdirAll(images.MediumMount, 0o755); err != nil {
		return "", nil, err
	}
	err = unix.Mount(device, images.MediumMount, "iso9660", unix.MS_RDONLY|unix.MS_NOSUID|unix.MS_NODEV, "")
	if err != nil {
		return "", nil, fmt.Errorf("mount %s as iso9660: %w", device, err)
	}
	pack, err = images.OpenPackFile(filepath.Join(images.MediumMount, images.MediumPack))
	return device, pack, err
}
