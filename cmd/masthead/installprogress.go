package main

import (
	"fmt"
	"io"
	"time"

	"github.com/schollz/progressbar/v3"
)

// installProgress shows how far an installation or an upgrade is: a bar where a person looks on, a line for each quarter
// elsewhere.
type installProgress struct {
	out   io.Writer
	tty   bool
	step  string
	began time.Time
	told  int64 // quarters
	bar   *progressbar.ProgressBar
}

func newInstallProgress(out io.Writer) *installProgress {
	return &installProgress{out: out, tty: terminal(out)}
}

// update is told of one step after another. A total of 1 is a step that is done.
func (p *installProgress) update(step string, done, total int64) {
	if step != p.step {
		p.close()
		p.step, p.began, p.told = step, time.Now(), 0
		if !p.tty && total == 0 {
			fmt.Fprintf(p.out, "%s ...\n", step)
		}
	}
	if total <= 1 {
		return
	}
	if p.tty {
		if p.bar == nil {
			p.bar = progressbar.NewOptions64(total, progressbar.OptionSetWriter(p.out), progressbar.OptionShowBytes(true),
				progressbar.OptionSetDescription(step), progressbar.OptionThrottle(barPause), progressbar.OptionClearOnFinish(), progressbar.OptionSetWidth(30))
		}
		_ = p.bar.Set64(min(done, total))
		return
	}
	if quarter := 4 * done / total; quarter > p.told {
		p.told = quarter
		fmt.Fprintf(p.out, "%s %d %% of %s, %.0f s\n", step, 25*quarter, bytesText(total), time.Since(p.began).Seconds())
	}
}

// close takes the display away.
func (p *installProgress) close() {
	if p.bar != nil {
		_ = p.bar.Clear()
		p.bar = nil
	}
	if p.tty && p.step != "" {
		fmt.Fprintf(p.out, "%-24s %5.1f s\n", p.step, time.Since(p.began).Seconds())
	}
	p.step = ""
}
