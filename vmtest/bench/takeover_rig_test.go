package bench

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"masthead/appliance/heartbeat"
	"masthead/vmtest/arena"
	"masthead/vmtest/arena/heads"
	"masthead/vmtest/prober"
)

// rig is a contender that runs, and which of its heads has the address.
type rig struct {
	entry
	contender
	owner, other string
}

const (
	head1, head2 = "head1", "head2"

	startWithin = 90 * time.Second
	steadyFor   = 300 * time.Millisecond // before a fault, and after a takeover
	atOnce      = 4 * prober.Every       // no handover there and back is as short: two owners
)

// newRig starts a contender and waits until one of its heads owns.
func newRig(e entry, dir string) (_ *rig, err error) {
	r := &rig{entry: e}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	if r.contender, err = e.open(dir); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, r.Close())
		}
	}()
	for _, head := range []string{head1, head2} {
		if err := r.boot(head); err != nil {
			return nil, err
		}
	}
	return r, r.await()
}

// await waits until one head owns and the other would take over, whichever that is.
func (r *rig) await() error {
	deadline := time.Now().Add(startWithin)
	for {
		err1, err2 := r.ready(head1, head2), error(nil)
		if err1 == nil {
			r.owner, r.other = head1, head2
			return nil
		}
		if err2 = r.ready(head2, head1); err2 == nil {
			r.owner, r.other = head2, head1
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("the heads are not ready within %v: %w", startWithin, errors.Join(err1, err2))
		}
		time.Sleep(20 * time.Millisecond) // what the program says has to be asked for
	}
}

// anew cuts the power of both heads and starts them again.
func (r *rig) anew() error {
	for _, head := range []string{head1, head2} {
		if err := r.Machine(head).PowerCut(); err != nil {
			return err
		}
	}
	for _, head := range []string{head1, head2} {
		if err := r.Machine(head).PowerOn(); err != nil {
			return err
		}
		if err := r.boot(head); err != nil {
			return err
		}
	}
	return r.await()
}

// sample is one repetition.
type sample struct {
	silent  time.Duration // nobody answered
	began   time.Duration // the silence, after the fault
	to      string        // what was not answered
	endless bool          // until the measurement was given up
	double  time.Duration // two heads answered, in all
	again   int           // how many repetitions were put aside for this one
	stall   time.Duration // the prober itself stood still, or who was to do the fault did
}

// round is one repetition of each fault.
func (r *rig) round(b *testing.B, n int, stage *sync.Mutex, t *takeovers) {
	for _, f := range faults {
		s, record, err := r.undisturbed(f, stage)
		if err != nil {
			text := fmt.Sprintf("%s: %s, repetition %d: %v%s", r.name, f.name, n+1, err, r.story(record))
			if strings.HasPrefix(r.name, ours) {
				b.Error(text)
				return
			}
			// What goes wrong with a peer on a busy host is no fault of ours; it goes on from where its heads come to rest.
			b.Logf("not measured: %s", text)
			if err := r.await(); err != nil {
				if err = r.anew(); err != nil {
					b.Errorf("%s: started anew: %v", r.name, err)
					return
				}
			}
			continue
		}
		t.add(r.name, f.name, s)
		if why := r.wrong(f, s); why != "" {
			b.Logf("%s: %s, repetition %d: %s%s", r.name, f.name, n+1, why, r.story(record))
		}
	}
}

// What the prober may stand still itself, on a host that others use as well; and how often a repetition is repeated that is
// worth nothing by that.
const (
	stallMost = 40 * time.Millisecond
	tries     = 5
	// injectWithin is how long it may take to kill a program and to start it again.
	injectWithin = 100 * time.Millisecond
)

// proberPriority is below that of masthead's daemons and above all that has none.
const proberPriority = 10

// undisturbed measures one fault, again if the prober stood still. Two owners count in any case.
func (r *rig) undisturbed(f fault, stage *sync.Mutex) (s sample, all []prober.Answer, err error) {
	for again := range tries {
		if err := heartbeat.RealtimeThreads(proberPriority); err != nil {
			return s, nil, err
		}
		if s, all, err = r.once(f, stage); err != nil || s.stall <= stallMost || s.double > 0 {
			s.again = again
			return s, all, err
		}
		s.again = again
	}
	return s, all, err
}

// once measures one fault, and makes the heads what they were before.
func (r *rig) once(f fault, stage *sync.Mutex) (s sample, all []prober.Answer, err error) {
	owner, other := r.owner, r.other
	if !r.coarse {
		stage.Lock()
	}
	leave := sync.OnceFunc(func() {
		if !r.coarse {
			stage.Unlock()
		}
	})
	defer leave()
	w, err := r.Machine(heads.Client).Watch(heads.VIP.Addr())
	if err != nil {
		return s, nil, err
	}
	closeWatch := sync.OnceValue(w.Close)
	defer func() { err = errors.Join(err, closeWatch()) }()
	mac := func(head string) string { return r.Machine(head).MAC.String() }
	if !until(10*time.Second, func() bool { return steady(w, mac(owner)) }) {
		return s, w.Answers(0), fmt.Errorf("%s does not answer steadily", owner)
	}
	from := w.Now()
	if err := f.inject(r.contender, owner, other); err != nil {
		return s, w.Answers(0), err
	}
	injected := w.Now() - from
	if f.moves {
		until(r.took, func() bool { return steady(w, mac(other)) })
	} else {
		until(2*time.Second, func() bool { return false }) // a takeover may follow, or may not
		until(r.took, func() bool { return steady(w, mac(owner)) || steady(w, mac(other)) || f.end != nil })
	}
	leave()
	if f.end != nil {
		until(f.after-(w.Now()-from), func() bool { return false })
		if err := f.end(r.contender, owner); err != nil {
			return s, w.Answers(0), err
		}
		until(2*time.Second, func() bool { return false })
	}
	to := w.Now()
	s.silence(w, from, to)
	s.stall = w.Stall(from, to)
	if f.quick && injected > injectWithin {
		s.stall = max(s.stall, injected)
	}
	if err := r.mend(f, owner); err != nil {
		return s, w.Answers(0), err
	}
	err = errors.Join(r.await(), closeWatch())
	all = w.Answers(from - atOnce)
	for _, d := range prober.Doubles(all, atOnce) {
		s.double += d.Last - d.First + prober.Every
	}
	return s, all, err
}

// mend is what a person does after a fault.
func (r *rig) mend(f fault, head string) error {
	if f.heal == switchOn {
		if err := r.Machine(head).PowerOn(); err != nil {
			return err
		}
		return r.boot(head)
	}
	if f.heal == startProgram {
		if err := r.Machine(head).Kill(); err != nil { // what was killed may be dying still
			return err
		}
	}
	started, err := r.repair(head)
	if err != nil || started || f.heal == nothing {
		return err
	}
	return r.start(head)
}

// steady reports whether a card alone has answered for a while.
func steady(w *arena.Watch, mac string) bool {
	now := w.Now()
	if now < steadyFor {
		return false
	}
	last := w.Answers(now - steadyFor)
	n := 0
	for _, a := range last {
		if a.MAC == mac {
			n++
		}
	}
	return n > 20 && last[0].At < now-steadyFor/2 && now-last[len(last)-1].At < steadyFor/4
}

// silence finds the longest time in which the address did not answer, to ARP or to echo requests.
func (s *sample) silence(w *arena.Watch, from, to time.Duration) {
	for what, all := range map[string][]prober.Answer{"ARP": w.Answers(from - atOnce), "echo requests": w.Echoes(from - atOnce)} {
		all = slices.DeleteFunc(all, func(a prober.Answer) bool { return a.At > to })
		gap := prober.Longest(append(all, prober.Answer{At: to}))
		if gap.Length() > s.silent {
			s.silent, s.began, s.to, s.endless = gap.Length(), gap.From-from, what, gap.To == to && gap.Length() > steadyFor
		}
	}
}

// until waits until something is so, or for that long.
func until(within time.Duration, is func() bool) bool {
	for deadline := time.Now().Add(within); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if is() {
			return true
		}
	}
	return false
}

// story is who answered, and what the heads said last.
func (r *rig) story(record []prober.Answer) string {
	text := ""
	if spans := prober.Spans(record); len(spans) < 50 {
		text += "\nwho answered:\n" + prober.Text(record, func(mac string) string {
			for _, head := range []string{head1, head2} {
				if r.Machine(head).MAC.String() == mac {
					return head
				}
			}
			return mac
		})
	}
	for _, head := range []string{head1, head2} {
		if data, err := os.ReadFile(r.log(head)); err == nil {
			text += fmt.Sprintf("%s said:\n%s", head, data[max(0, len(data)-3000):])
		}
	}
	return text
}
