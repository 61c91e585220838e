package install

import (
	"bytes"
	"context"
	"testing"

	"masthead/images"
)

func TestLeftBehind(t *testing.T) {
	pack := func(content string) (*images.Pack, images.Digest) {
		data, source := miniISO(t, content)
		v, err := OpenVolume(bytes.NewReader(data), int64(len(data)))
		must(t, err)
		p, err := v.Pack()
		must(t, err)
		return p, source.Image
	}
	now, one := pack("one")
	next, two := pack("two")
	store, err := images.OpenStore(t.TempDir())
	must(t, err)
	if left := LeftBehind([]images.Digest{one, two, images.DigestOf(nil)}, now, now, store); left != nil {
		t.Errorf("the next ISO has it all, and yet: %v", left)
	}
	if left := LeftBehind([]images.Digest{two}, now, next, store); left != nil {
		t.Errorf("nobody wants the old image, and yet: %v", left)
	}
	left := LeftBehind([]images.Digest{one, two}, now, next, store)
	if len(left) != 4 { // manifest, kernel, initramfs, a chunk
		t.Fatalf("left behind: %v", left)
	}
	must(t, Keep(context.Background(), left, now, store, func(string, int64, int64) {}))
	if _, err := images.ReadManifest(store, one); err != nil {
		t.Error(err)
	}
	if again := LeftBehind([]images.Digest{one, two}, now, next, store); again != nil {
		t.Errorf("kept, and yet: %v", again)
	}
}
