package appliance

import (
	"testing"

	"masthead/appliance/pki"
	"masthead/appliance/state"
	"masthead/images"
)

func testKey(t *testing.T) *pki.HeadKey {
	t.Helper()
	key, err := pki.OpenHeadKey(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func encodeForTest(h *Head) []byte { return state.EncodeBatch(h.joinedRecords()) }

func caOf(t *testing.T, h *liveHead) images.Digest {
	t.Helper()
	s, err := h.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return s.CA
}
