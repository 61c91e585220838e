package bench

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"masthead/vmtest/prerequisite"
)

// isoTimes is what the ways to an ISO took.
type isoTimes struct {
	fresh, cpu []float64 // from an empty store: seconds, and seconds of processor
	again      []float64 // from a full one
	write      []float64 // the same without what comes before the writing: looking for newer packages, mostly
	mkisofs    []float64
	cp         []float64
}

// BenchmarkISO builds the head's ISO (see the package comment). x_mkisofs and x_cp are how many times as fast as they
// are masthead writes the ISO out of the store.
func BenchmarkISO(b *testing.B) {
	times := runs(b)
	program(b)
	prerequisite.Programs(b, "xorriso")
	dir := b.TempDir() // nothing is removed before the end: ext4 would look for other inodes than the freed ones for a while
	at := func(format string, args ...any) string { return filepath.Join(dir, fmt.Sprintf(format, args...)) }
	iso, _ := buildISO(b, at("store"), at("out")) // gets what there is to download
	content := at("content")
	run(b, "xorriso", "-report_about", "WARNING", "-osirrox", "on", "-indev", iso, "-extract", "/", content)
	var t isoTimes
	for b.Loop() {
		for i := range times {
			t.run(b, i, content, at)
		}
	}
	t.report(b, iso)
}

func (t *isoTimes) run(b *testing.B, i int, content string, at func(string, ...any) string) {
	b.Helper()
	store, out := at("store%d", i), at("out%d", i)
	flush()
	iso, c := buildISO(b, store, out)
	t.fresh, t.cpu = append(t.fresh, c.wall), append(t.cpu, c.cpu)
	flush()
	var before float64
	for _, name := range []string{"worker", "head"} {
		before += run(b, program(b), "image", "build", definition(b, name), "--store", store).wall
	}
	_, c = buildISO(b, store, at("again%d", i))
	t.again, t.write = append(t.again, c.wall), append(t.write, c.wall-before)
	flush()
	t.mkisofs = append(t.mkisofs, run(b, "xorriso", "-report_about", "WARNING", "-as", "mkisofs", "-r", "-o", at("mkisofs%d", i), content).wall)
	flush()
	t.cp = append(t.cp, run(b, "cp", "--reflink=never", iso, at("cp%d", i)).wall)
}

func (t *isoTimes) report(b *testing.B, iso string) {
	b.Helper()
	st, err := os.Stat(iso)
	if err != nil {
		b.Fatal(err)
	}
	fresh, again, write, mkisofs, cp := median(t.fresh), median(t.again), median(t.write), median(t.mkisofs), median(t.cp)
	b.Logf("head.iso, %.1f MB: from an empty store in %.1f s (%.1f s of processor), from a full one in %.2f s, of which writing %.2f s; "+
		"xorriso -as mkisofs writes the same files in %.2f s, cp the ISO in %.2f s",
		mb(st.Size()), fresh, median(t.cpu), again, write, mkisofs, cp)
	b.ReportMetric(mb(st.Size()), "MB")
	b.ReportMetric(fresh, "s_fresh")
	b.ReportMetric(again, "s_again")
	b.ReportMetric(mkisofs/write, "x_mkisofs")
	b.ReportMetric(cp/write, "x_cp")
	b.ReportMetric(0, "ns/op")
}
