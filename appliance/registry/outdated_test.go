package registry

import (
	"slices"
	"testing"

	"masthead/images"
	"masthead/node/wire"
)

// TestNeedsReboot publishes another image and goes back: what counts is the digest that a node runs, not what happened
// when.
func TestNeedsReboot(t *testing.T) {
	r := newRegistry(t, openState(t, t.TempDir()))
	worker := imageA
	r.conf.Image = func(ref string) (images.Digest, error) {
		if ref == "worker" {
			return worker, nil
		}
		return resolveTest(ref)
	}
	for n, name := range []string{"n01", "n02", "h01"} {
		add(t, r, name, n)
	}
	if _, err := r.Set(t.Context(), admin, []string{"h01"}, wire.NodeChange{Attrs: map[string]string{roleAttr: string(images.RoleHead)}}); err != nil {
		t.Fatal(err)
	}
	for n := range 3 {
		if _, err := r.Hello(t.Context(), wire.Hello{Boot: "b", MAC: mac(n)}, here, start); err != nil {
			t.Fatal(err)
		}
		stages := "up"
		if n == 1 {
			stages = "mounts" // on its way: it may yet come up with what is wanted
		}
		if err := r.Report(wire.Report{Boot: "b", MAC: mac(n), Stages: results(stages), Running: imageA}, start); err != nil {
			t.Fatal(err)
		}
	}
	check := func(when string, want ...string) {
		t.Helper()
		if got := list(t, r, "needs-reboot=true"); !slices.Equal(got, want) {
			t.Errorf("%s: %v need a reboot, want %v", when, got, want)
		}
		n, err := r.Node("n01", start)
		if err != nil || n.NeedsReboot != (len(want) > 0) || n.Wanted != worker || n.Running != imageA || n.Boot != "b" {
			t.Errorf("%s: %+v, %v", when, n, err)
		}
		if why, err := r.Why("n01", start); err != nil || why.Node.NeedsReboot != n.NeedsReboot || why.Node.Wanted != worker {
			t.Errorf("%s: why %+v, %v", when, why.Node, err)
		}
	}
	check("as it booted")
	worker = images.DigestOf([]byte("another"))
	check("published", "n01")
	worker = imageA
	check("gone back")
}
