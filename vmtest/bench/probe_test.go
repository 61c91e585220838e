package bench

import (
	"encoding/base64"
	"fmt"
	"strconv"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// The probe is a unit that says on the console when systemd has started all that it was to start, and how much memory
// is in use then, and again every few seconds. The machine is given it through SMBIOS (systemd-debug-generator(8)), so
// that no image is changed for it.
const (
	probeName    = "bench-probe.service"
	probeCmdline = "systemd.wants=" + probeName
	probeUnit    = `[Unit]
Description=Say when all is started
[Service]
Type=exec
ExecStart=/bin/sh -c 'systemctl is-system-running --wait >/dev/null; while :; do \
	read -r up idle </proc/uptime; \
	while read -r key value unit; do case $$key in MemTotal:) total=$$value ;; MemAvailable:) available=$$value ;; esac; done </proc/meminfo; \
	echo "probe: up $$up total $$total available $$available" >/dev/console; \
	sleep 5; done'
`
	probeLine = `probe: up ([0-9.]+) total ([0-9]+) available ([0-9]+)\r?\n`
)

// probeOEM is the SMBIOS string that carries the probe.
func probeOEM() string {
	return "io.systemd.credential.binary:systemd.extra-unit." + probeName + "=" + base64.StdEncoding.EncodeToString([]byte(probeUnit))
}

// probed is one line of the probe.
type probed struct {
	uptime float64 // seconds of kernel time
	used   int64   // bytes: MemTotal less MemAvailable
}

// parseProbe reads what probeLine has matched.
func parseProbe(match []string) (probed, error) {
	var p probed
	var numbers [2]int64
	var err error
	if p.uptime, err = strconv.ParseFloat(match[1], 64); err != nil {
		return p, fmt.Errorf("probe %q: %w", match[0], err)
	}
	for i := range numbers {
		if numbers[i], err = strconv.ParseInt(match[2+i], 10, 64); err != nil {
			return p, fmt.Errorf("probe %q: %w", match[0], err)
		}
	}
	p.used = (numbers[0] - numbers[1]) << 10 // proc(5): kB are KiB
	return p, nil
}

func TestParseProbe(t *testing.T) {
	got, err := parseProbe([]string{"", "23.45", "1500000", "1400000"})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(probed{23.45, 102400000}, got, cmp.AllowUnexported(probed{})); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if _, err := parseProbe([]string{"", "23.45", "99999999999999999999", "1"}); err == nil {
		t.Error("an impossible number was taken")
	}
}
