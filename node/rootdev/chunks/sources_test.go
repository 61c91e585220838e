package chunks

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"masthead/images"
	"masthead/node/wire"
)

// fake is a source that does what answer says. It counts what it was asked, and how much of that at once.
type fake struct {
	name string

	mu     sync.Mutex
	answer func(ctx context.Context, c images.Chunk) ([]byte, error)
	asked  int
	now    int
	most   int
}

func (f *fake) Name() string { return f.name }

func (f *fake) Fetch(ctx context.Context, c images.Chunk) ([]byte, error) {
	f.mu.Lock()
	f.asked++
	f.now++
	f.most = max(f.most, f.now)
	answer := f.answer
	f.mu.Unlock()
	defer func() {
		f.mu.Lock()
		f.now--
		f.mu.Unlock()
	}()
	return answer(ctx, c)
}

// becomes changes what the source does from now on, and forgets the counts.
func (f *fake) becomes(answer func(context.Context, images.Chunk) ([]byte, error)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.answer, f.asked, f.most = answer, 0, 0
}

func (f *fake) count() (asked, most int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.asked, f.most
}

var theChunk = []byte("the stored bytes of a chunk")

func chunkOf(data []byte) images.Chunk {
	return images.Chunk{Digest: images.DigestOf(data), Size: int64(len(data))}
}

// What sources do. Each takes 10 ms, as on a network.
func works(ctx context.Context, _ images.Chunk) ([]byte, error) {
	return after(ctx, 10*time.Millisecond, theChunk, nil)
}
func fails(ctx context.Context, _ images.Chunk) ([]byte, error) {
	return after(ctx, 10*time.Millisecond, nil, errors.New("connection refused"))
}
func lies(ctx context.Context, _ images.Chunk) ([]byte, error) {
	return after(ctx, 10*time.Millisecond, []byte(strings.ToUpper(string(theChunk))), nil)
}
func halves(ctx context.Context, _ images.Chunk) ([]byte, error) {
	return after(ctx, 10*time.Millisecond, theChunk[:len(theChunk)/2], nil)
}
func lacks(ctx context.Context, _ images.Chunk) ([]byte, error) {
	return after(ctx, 10*time.Millisecond, nil, fmt.Errorf("no such blob: %w", images.ErrNotFound))
}
func stalls(ctx context.Context, _ images.Chunk) ([]byte, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}
func crawls(ctx context.Context, _ images.Chunk) ([]byte, error) {
	return after(ctx, 5*time.Second, theChunk, nil)
}

// hangs cannot be interrupted, like a read of a disk that died; it returns after a minute.
func hangs(context.Context, images.Chunk) ([]byte, error) {
	time.Sleep(time.Minute)
	return nil, errors.New("I/O error")
}

func after(ctx context.Context, d time.Duration, data []byte, err error) ([]byte, error) {
	select {
	case <-time.After(d):
		return data, err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// events collects what a Sources says.
type events struct {
	mu   sync.Mutex
	list []string
}

func (e *events) add(ev wire.Event) {
	e.mu.Lock()
	defer e.mu.Unlock()
	mark := "ok: "
	if ev.Failed {
		mark = "failed: "
	}
	e.list = append(e.list, mark+ev.Text)
}

func (e *events) all() []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return append([]string(nil), e.list...)
}

// fetchIn fetches the chunk and returns how long that took.
func fetchIn(t *testing.T, s *Sources) time.Duration {
	t.Helper()
	start := time.Now()
	data, err := s.Fetch(t.Context(), chunkOf(theChunk))
	if err != nil || string(data) != string(theChunk) {
		t.Fatalf("got %q, %v", data, err)
	}
	return time.Since(start)
}

// TestBadFirstSource has a good second source beside one that is bad in some way.
func TestBadFirstSource(t *testing.T) {
	tests := []struct {
		name   string
		bad    func(context.Context, images.Chunk) ([]byte, error)
		within time.Duration // for the first chunk
		errors int
		faults int // chunks for which it is found out, and told
	}{
		{"refuses", fails, 20 * time.Millisecond, 1, 0},
		{"lies", lies, 20 * time.Millisecond, 1, maxFaults},
		{"gives half", halves, 20 * time.Millisecond, 1, maxFaults},
		{"does not have it", lacks, 20 * time.Millisecond, 1, maxFaults},
		{"stalls", stalls, firstHedge + 10*time.Millisecond, 1, 0},
		{"crawls", crawls, firstHedge + 10*time.Millisecond, 1, 0},
		{"hangs", hangs, firstHedge + 10*time.Millisecond, 0, 0},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a, b := &fake{name: "a", answer: test.bad}, &fake{name: "b", answer: works}
				var said events
				s := NewSources([]Source{a, b}, said.add)
				defer s.Close()

				if took := fetchIn(t, s); took != test.within {
					t.Errorf("the first chunk took %v, want %v", took, test.within)
				}
				synctest.Wait()
				var st wire.RootStatus
				s.Status(&st)
				if st.Errors != test.errors || st.BytesFetched != int64(len(theChunk)) {
					t.Errorf("%d errors, %d bytes, want %d, %d", st.Errors, st.BytesFetched, test.errors, len(theChunk))
				}
				if test.errors == 0 {
					return // it has not come back yet, so nothing is known
				}
				for range test.faults - 1 {
					fetchIn(t, s)
				}
				// From now on no read waits for it, whatever it does.
				for range 200 {
					if took := fetchIn(t, s); took != 10*time.Millisecond {
						t.Fatalf("a later chunk took %v", took)
					}
					time.Sleep(100 * time.Millisecond)
				}
				if s.Status(&st); st.Source != "b" {
					t.Errorf("source in use is %q, want b", st.Source)
				}
				if asked, _ := a.count(); asked > 16 {
					t.Errorf("the bad one was asked %d times in 20 s", asked)
				}
				failing := 0
				for _, e := range said.all() {
					if strings.HasPrefix(e, "failed") {
						failing++
					}
				}
				if failing != test.faults {
					t.Errorf("%d failures told, want %d: %q", failing, test.faults, said.all())
				}
			})
		})
	}
}

// TestReturnOfTheFirst checks that a better source is used again soon after it is back, and that nobody waits to find
// out.
func TestReturnOfTheFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := &fake{name: "a", answer: works}, &fake{name: "b", answer: works}
		var said events
		s := NewSources([]Source{a, b}, said.add)
		defer s.Close()
		fetchIn(t, s)
		if asked, _ := b.count(); asked != 0 {
			t.Error("b was asked while a works")
		}
		a.becomes(fails)
		for range 300 {
			fetchIn(t, s)
			time.Sleep(50 * time.Millisecond)
		}
		a.becomes(works)
		back := time.Now()
		var st wire.RootStatus
		for st.Source != "a" {
			if took := fetchIn(t, s); took != 10*time.Millisecond {
				t.Errorf("a chunk took %v", took)
			}
			time.Sleep(50 * time.Millisecond)
			s.Status(&st)
			if time.Since(back) > time.Minute {
				t.Fatal("a is not used again")
			}
		}
		if d := time.Since(back); d > maxBackoff*5/4+time.Second {
			t.Errorf("a was used again after %v", d)
		}
		want := []string{
			"ok: the chunks of the root come from b now; last error: connection refused",
			"ok: the chunks of the root come from a now; last error: connection refused",
		}
		if diff := cmp.Diff(want, said.all()); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
}

// TestNoSourceLeft has reads wait through an outage of an hour.
func TestNoSourceLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := &fake{name: "a", answer: works}, &fake{name: "b", answer: works}
		var said events
		s := NewSources([]Source{a, b}, said.add)
		defer s.Close()
		fetchIn(t, s)
		a.becomes(fails)
		b.becomes(stalls)

		const readers = 50
		var done sync.WaitGroup
		for range readers {
			done.Go(func() { fetchIn(t, s) })
		}
		time.Sleep(15 * time.Second) // b's first stall ends after 10
		var st wire.RootStatus
		if s.Status(&st); st.Source != "" || st.Waiting < 4 || st.Waiting > 15 {
			t.Errorf("status says %q, waiting %v s", st.Source, st.Waiting)
		}
		a.becomes(fails)
		time.Sleep(time.Hour)
		asked, most := a.count()
		if per := time.Hour / time.Duration(asked); per < 3*time.Second || per > 8*time.Second {
			t.Errorf("a was asked every %v", per)
		}
		if most != 1 {
			t.Errorf("a was asked %d times at once, want one probe at a time", most)
		}
		back := time.Now()
		a.becomes(works)
		done.Wait()
		if d := time.Since(back); d > maxBackoff*5/4+time.Second {
			t.Errorf("reads went on after %v", d)
		}
		if s.Status(&st); st.Source != "a" || st.Waiting != 0 {
			t.Errorf("status says %q, waiting %v s", st.Source, st.Waiting)
		}
		got := said.all()
		want := []string{"failed: no source of the root answers: reads wait (", "ok: the chunks of the root come again, from a"}
		if len(got) != 2 || !strings.HasPrefix(got[0], want[0]) || got[1] != want[1] {
			t.Errorf("told %q, want %q", got, want)
		}
	})
}

// TestRestartIsQuiet has a head restart within the time that nobody needs to be told of.
func TestRestartIsQuiet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &fake{name: "a", answer: fails}
		var said events
		s := NewSources([]Source{a}, said.add)
		defer s.Close()
		time.AfterFunc(400*time.Millisecond, func() { a.becomes(works) })
		if took := fetchIn(t, s); took > time.Second {
			t.Errorf("took %v", took)
		}
		if got := said.all(); got != nil {
			t.Errorf("told %q", got)
		}
	})
}

func TestReplaceWhileWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var said events
		s := NewSources(nil, said.add)
		defer s.Close()
		a := &fake{name: "a", answer: works}
		time.AfterFunc(time.Minute, func() { s.Replace([]Source{a}) })
		if took := fetchIn(t, s); took != time.Minute+10*time.Millisecond {
			t.Errorf("took %v", took)
		}
		want := []string{
			"failed: no source of the root answers: reads wait (no source is configured)",
			"ok: the chunks of the root come again, from a",
		}
		if diff := cmp.Diff(want, said.all()); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
}

func TestFetchEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := NewSources([]Source{&fake{name: "a", answer: fails}}, nil)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if _, err := s.Fetch(ctx, chunkOf(theChunk)); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("after its deadline: %v", err)
		}
		time.AfterFunc(time.Minute, s.Close)
		if _, err := s.Fetch(t.Context(), chunkOf(theChunk)); !errors.Is(err, ErrClosed) {
			t.Errorf("after Close: %v", err)
		}
		if _, err := s.Fetch(t.Context(), chunkOf(theChunk)); !errors.Is(err, ErrClosed) {
			t.Errorf("long after Close: %v", err)
		}
	})
}

// TestSlowLink has one source that carries little: a chunk that takes longer than a stall is not given up.
func TestSlowLink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := NewSources([]Source{&fake{name: "a", answer: crawls}}, nil)
		defer s.Close()
		if took := fetchIn(t, s); took != 5*time.Second {
			t.Errorf("took %v", took)
		}
	})
}

// TestOneBadChunk has the only source give one chunk damaged: whoever reads that waits, and nobody else does.
func TestOneBadChunk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bad := []byte("another chunk")
		mended := false
		var mu sync.Mutex
		a := &fake{name: "a", answer: func(ctx context.Context, c images.Chunk) ([]byte, error) {
			mu.Lock()
			right := c == chunkOf(bad) && mended
			mu.Unlock()
			if right {
				return after(ctx, 10*time.Millisecond, bad, nil)
			}
			return after(ctx, 10*time.Millisecond, theChunk, nil)
		}}
		var said events
		s := NewSources([]Source{a}, said.add)
		defer s.Close()
		done := make(chan error)
		go func() { // received below
			_, err := s.Fetch(t.Context(), chunkOf(bad))
			done <- err
		}()
		for range 1000 {
			if took := fetchIn(t, s); took > 20*time.Millisecond { // one other may be at it
				t.Fatalf("another chunk took %v", took)
			}
			time.Sleep(50 * time.Millisecond)
		}
		var st wire.RootStatus
		if s.Status(&st); st.Source != "a" || st.Waiting < 59 {
			t.Errorf("status says %q, waiting %v s", st.Source, st.Waiting)
		}
		mu.Lock()
		mended = true
		mu.Unlock()
		mend := time.Now()
		if err := <-done; err != nil || time.Since(mend) > maxBackoff*5/4+time.Second {
			t.Errorf("%v after %v", err, time.Since(mend))
		}
		got := said.all()
		if len(got) != 1 || !strings.HasPrefix(got[0], "failed: a cannot give a chunk of the root: chunk ") {
			t.Errorf("told %q", got)
		}
	})
}
