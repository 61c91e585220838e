package appliance

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"masthead/appliance/pki"
	"masthead/appliance/state"
	"masthead/images"
	"masthead/node/wire"
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

// keyFile is one of the files with the cluster's keys.
func (h *liveHead) keyFile(name string) string {
	h.t.Helper()
	data, err := os.ReadFile(filepath.Join(h.cfg.StateDir, keysDir, name))
	if err != nil {
		h.t.Fatal(err)
	}
	return string(data)
}

func (h *liveHead) untilKeys(of *liveHead) {
	h.t.Helper()
	h.until("it has the cluster's keys", func() error {
		for _, name := range []string{"token.keys", "admin.token"} {
			if h.keyFile(name) != of.keyFile(name) {
				return errors.New(name + " is another one")
			}
		}
		return nil
	})
}

// as asks a head over the network with a token.
func (h *liveHead) as(token string) error {
	h.t.Helper()
	c := wire.NewClient(fmt.Sprintf("https://127.0.0.1:%d", h.cfg.HTTPS), caOf(h.t, h), token)
	defer c.Close()
	_, err := c.Settings(h.t.Context())
	return err
}

// A head that was stolen holds keys that are worth nothing any more, on all heads, also on one that was off meanwhile.
func TestEjectStolen(t *testing.T) {
	t.Parallel()
	one, two, three := startHead(t, "head1", 1), startHead(t, "head2", 2), startHead(t, "head3", 3)
	two.join(one)
	three.join(one)
	one.untilEqual(two, three)
	admin, keys := strings.TrimSpace(two.keyFile("admin.token")), two.keyFile("token.keys")
	if err := one.as(admin); err != nil {
		t.Fatal(err)
	}
	invitation := one.token()
	two.off()
	three.off()
	would, err := one.EjectHead(t.Context(), "head2", wire.HeadChange{Stolen: true, DryRun: true})
	if text := strings.Join(would.Steps, "\n"); err != nil || !strings.Contains(text, "CA's key") || !strings.Contains(text, "admin.token") || would.Applied {
		t.Errorf("dry run: %+v, %v", would, err)
	}
	if one.keyFile("token.keys") != keys {
		t.Error("a dry run has changed the keys")
	}
	// Somebody finds out that it was stolen after it was ejected.
	plain, err := one.EjectHead(t.Context(), "head2", wire.HeadChange{Confirm: "head2"})
	if err != nil || !strings.Contains(strings.Join(plain.Steps, "\n"), "--stolen") {
		t.Errorf("%+v, %v", plain, err)
	}
	if err := one.as(admin); err != nil {
		t.Errorf("the token after eject without --stolen: %v", err)
	}
	if done, err := one.EjectHead(t.Context(), "head2", wire.HeadChange{Confirm: "head2", Stolen: true}); err != nil || !done.Applied {
		t.Fatalf("%+v, %v", done, err)
	}
	refused(t, "the stolen token", one.as(admin), http.StatusUnauthorized)
	if err := one.as(strings.TrimSpace(one.keyFile("admin.token"))); err != nil {
		t.Errorf("the new token: %v", err)
	}
	if one.keyFile("token.keys") == keys {
		t.Error("the keys of boot tokens are the old ones")
	}
	four := startHead(t, "head4", 4)
	_, err = four.JoinHead(t.Context(), wire.JoinStart{Token: invitation})
	refused(t, "an old join token", err, http.StatusUnauthorized, "does not know")

	three.on()
	one.untilEqual(three)
	three.untilKeys(one)
	refused(t, "the stolen token at the other", three.as(admin), http.StatusUnauthorized)
	four.join(three)
	four.untilKeys(one)
	one.off()
	one.on()
	four.untilKeys(one)
}
