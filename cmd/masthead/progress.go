package main

import (
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/schollz/progressbar/v3"

	"masthead/builder"
)

// progress shows how a build goes: a bar where a person looks on, one line a stage elsewhere.
type progress struct {
	out io.Writer
	tty bool

	mu    sync.Mutex
	stage string
	began time.Time
	bar   *progressbar.ProgressBar
}

func newProgress(out io.Writer) *progress {
	return &progress{out: out, tty: terminal(out)}
}

// barPause keeps the terminal from being written more often than anybody sees.
const barPause = 100 * time.Millisecond

func (p *progress) update(e builder.Progress) {
	p.mu.Lock()
	defer p.mu.Unlock()
	stage := e.Image + " " + e.Stage
	if stage != p.stage {
		p.finish()
		p.stage, p.began = stage, time.Now()
		if p.tty {
			p.bar = progressbar.NewOptions64(max(e.Total, 1), progressbar.OptionSetWriter(p.out), progressbar.OptionShowBytes(e.Bytes),
				progressbar.OptionSetDescription(stage), progressbar.OptionThrottle(barPause), progressbar.OptionClearOnFinish(),
				progressbar.OptionSetWidth(30))
		}
	}
	if p.bar != nil {
		if e.Total > 0 {
			p.bar.ChangeMax64(e.Total)
			_ = p.bar.Set64(min(e.Done, e.Total))
		}
		if e.Note != "" {
			p.bar.Describe(stage + ": " + e.Note)
		}
	}
}

// finish ends the stage that is shown.
func (p *progress) finish() {
	if p.stage == "" {
		return
	}
	if p.bar != nil {
		_ = p.bar.Clear()
		p.bar = nil
	}
	if took := time.Since(p.began); took > 100*time.Millisecond {
		fmt.Fprintf(p.out, "%-28s %5.1f s\n", p.stage, took.Seconds())
	}
	p.stage = ""
}

// close takes the display away, so that something else can be printed. The next update shows it again.
func (p *progress) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.finish()
}

// bytesText is a size for people, in powers of 1024.
func bytesText(n int64) string {
	const unit = 1024
	if n < unit {
		return fmt.Sprintf("%d B", n)
	}
	v, i := float64(n), -1
	for v >= unit && i < 3 {
		v /= unit
		i++
	}
	return fmt.Sprintf("%.1f %ciB", v, "KMGT"[i])
}
