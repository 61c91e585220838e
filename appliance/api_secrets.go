package appliance

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"

	"masthead/appliance/configuration"
	"masthead/appliance/state"
	"masthead/node/wire"
)

var secretName = regexp.MustCompile(`^[A-Za-z0-9._-]{1,64}$`)

// maxSecret bounds a secret: a password, or a private key.
const maxSecret = 64 << 10

func (a *api) setClusterSecret(ctx context.Context, c caller, r *http.Request) (any, error) {
	s, err := decode[wire.ClusterSecret](r)
	if err != nil {
		return nil, err
	}
	h, name, value := a.head, r.PathValue("name"), strings.TrimRight(s.Value, "\r\n")
	bad := func(format string, args ...any) (any, error) {
		return nil, &problem{http.StatusBadRequest, fmt.Sprintf(format, args...), "masthead cluster secret NAME --file FILE"}
	}
	switch {
	case !secretName.MatchString(name):
		return bad("%q cannot be the name of a secret: want 1 to 64 letters, digits and ._-", name)
	case value == "":
		return bad("secret %s: it is empty", name)
	case len(value) > maxSecret:
		return bad("secret %s: %d bytes, at most %d", name, len(value), maxSecret)
	}
	if err := h.mayChange(); err != nil {
		return nil, err
	}
	op, err := state.Put(state.KindSecret, secretCluster+name, wire.ClusterSecret{Value: value})
	if err != nil {
		return nil, err
	}
	ack, err := h.store().Apply(ctx, c.origin(), op)
	if err != nil {
		return nil, err
	}
	named, err := h.namedSecrets()
	if err != nil {
		return nil, err
	}
	return wire.ClusterSecretKept{Name: name, Named: slices.Contains(named, name), Degraded: ack.Degraded}, nil
}

// namedSecrets are those that the document in force names.
func (h *Head) namedSecrets() ([]string, error) {
	doc, _, err := h.clusterConfig()
	if err != nil {
		return nil, err
	}
	return configuration.Secrets([]byte(doc.Text))
}

func (a *api) clusterSecrets(context.Context, caller, *http.Request) (any, error) {
	named, err := a.head.namedSecrets()
	if err != nil {
		return nil, err
	}
	list := []wire.ClusterSecretState{}
	for _, rec := range a.head.db.List(state.KindSecret, secretCluster) {
		name := strings.TrimPrefix(rec.Key.Name, secretCluster)
		list = append(list, wire.ClusterSecretState{Name: name, Kept: true, Named: slices.Contains(named, name)})
	}
	for _, name := range named {
		if !slices.ContainsFunc(list, func(s wire.ClusterSecretState) bool { return s.Name == name }) {
			list = append(list, wire.ClusterSecretState{Name: name, Named: true})
		}
	}
	slices.SortFunc(list, func(a, b wire.ClusterSecretState) int { return strings.Compare(a.Name, b.Name) })
	return list, nil
}

// removeClusterSecret removes a secret, unless something would miss it.
func (a *api) removeClusterSecret(ctx context.Context, c caller, r *http.Request) (any, error) {
	h, name := a.head, r.PathValue("name")
	if err := h.mayChange(); err != nil {
		return nil, err
	}
	rec, err := h.db.Get(state.Key{Kind: state.KindSecret, Name: secretCluster + name})
	if errors.Is(err, state.ErrNotFound) {
		return nil, &problem{http.StatusNotFound, fmt.Sprintf("there is no secret %q", name), "masthead cluster secret list"}
	}
	if err != nil {
		return nil, err
	}
	named, err := h.namedSecrets()
	if err != nil {
		return nil, err
	}
	if slices.Contains(named, name) {
		return nil, &problem{http.StatusConflict, fmt.Sprintf("the configuration names secret %s", name), "masthead cluster edit, to take secret:" + name + " out of it first"}
	}
	removed := wire.ClusterSecretRemoved{Name: name}
	if r.URL.Query().Has("dry_run") {
		return removed, nil
	}
	ack, err := h.store().Apply(ctx, c.origin(), state.Delete(state.KindSecret, rec.Key.Name).At(rec.Version))
	if err != nil {
		return nil, fmt.Errorf("remove secret %s: %w", name, err)
	}
	removed.Applied, removed.Degraded = true, ack.Degraded
	return removed, nil
}
