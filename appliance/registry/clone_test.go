package registry

import (
	"testing"

	"masthead/images"
	"masthead/node/wire"
)

// A machine that is being made a head runs the head's own image, whichever it booted, and is not offered another one.
func TestClone(t *testing.T) {
	r := newRegistry(t, openState(t, t.TempDir()))
	own := images.DigestOf([]byte("the head's"))
	add(t, r, "head2", 0)
	hello := func() wire.Spec {
		t.Helper()
		spec, err := r.Hello(t.Context(), wire.Hello{Boot: "b", MAC: mac(0), Image: imageA}, here, start)
		if err != nil {
			t.Fatal(err)
		}
		return spec
	}
	if spec := hello(); spec.Image != imageA {
		t.Errorf("as a worker it runs %s", spec.Image)
	}
	if _, err := r.Set(t.Context(), admin, []string{"head2"}, wire.NodeChange{Attrs: map[string]string{roleAttr: RoleClone}}); err != nil {
		t.Fatal(err)
	}
	if spec := hello(); spec.Verdict != wire.VerdictWait || spec.Reason == "" {
		t.Errorf("with a head that has no image: %+v", spec)
	}
	r.conf.Clone = func() (images.Digest, error) { return own, nil }
	if spec := hello(); spec.Verdict != wire.VerdictBoot || spec.Image != own {
		t.Errorf("as a clone: %+v", spec)
	}
	if err := r.Report(wire.Report{Boot: "b", MAC: mac(0), Stages: results("up"), Running: own}, start); err != nil {
		t.Fatal(err)
	}
	if n, err := r.Node("head2", start); err != nil || n.NeedsReboot || n.Phase != wire.PhaseUp {
		t.Errorf("%+v, %v", n, err)
	}
	if rec, ok := r.Record("head2"); !ok || !rec.Clone() || rec.Head() {
		t.Errorf("%+v", rec)
	}
}
