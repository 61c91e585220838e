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

// clusterRoutes are the API of the cluster's configuration.
func (a *api) clusterRoutes() []route {
	return []route{
		{"GET " + wire.PathCluster, admin, "Show the document that says how the cluster is owned", nil, wire.ClusterConfig{}, a.cluster, nil},
		{"PUT " + wire.PathCluster, admin, "Change that document, or only say what that would do", wire.ClusterChange{}, wire.ClusterChanged{}, a.setCluster, nil},
		{"PUT " + wire.PathClusterSecret + "{name}", admin, "Keep a secret that the document names", wire.ClusterSecret{}, nil, a.setClusterSecret, nil},
	}
}

func (a *api) cluster(context.Context, caller, *http.Request) (any, error) {
	c, _, err := a.head.clusterConfig()
	return c, err
}

func (a *api) setCluster(ctx context.Context, c caller, r *http.Request) (any, error) {
	req, err := decode[wire.ClusterChange](r)
	if err != nil {
		return nil, err
	}
	h := a.head
	if err := h.mayChange(); err != nil {
		return nil, err
	}
	now, at, err := h.clusterConfig()
	if err != nil {
		return nil, err
	}
	if req.Version >= 0 && req.Version != now.Version {
		return nil, &problem{http.StatusConflict, fmt.Sprintf("the document was made from version %d, and version %d is in force", req.Version, now.Version), "masthead cluster edit"}
	}
	changed := wire.ClusterChanged{Version: now.Version, Diff: configuration.DiffLines(now.Text, req.Text)}
	doc, err := configuration.Parse("document", []byte(req.Text))
	if err != nil {
		return nil, &problem{http.StatusBadRequest, err.Error(), "masthead cluster edit"}
	}
	if err := errors.Join(h.checkDocument(doc), h.checkWitnesses(doc.Witnesses)); err != nil {
		return nil, &problem{http.StatusBadRequest, err.Error(), "masthead cluster edit"}
	}
	if changed.Warning, err = h.documentWarnings(doc, []byte(req.Text)); err != nil {
		return nil, err
	}
	if len(changed.Diff) == 0 || req.DryRun {
		return changed, nil
	}
	next := wire.ClusterConfig{Version: now.Version + 1, Text: req.Text, By: c.origin().Who, At: a.now().UTC()}
	op, err := state.Put(clusterKey.Kind, clusterKey.Name, next)
	if err != nil {
		return nil, err
	}
	ack, err := h.store().Apply(ctx, c.origin(), op.At(at))
	if errors.Is(err, state.ErrConflict) {
		return nil, &problem{http.StatusConflict, "somebody else changed the configuration at the same moment", "masthead cluster edit"}
	}
	if err != nil {
		return nil, err
	}
	changed.Version, changed.Applied, changed.Degraded = next.Version, true, ack.Degraded
	return changed, nil
}

// checkDocument says what of a document does not fit this cluster.
func (h *Head) checkDocument(doc configuration.Document) error {
	var errs []error
	heads := h.heads()
	for _, v := range doc.Addresses() {
		a := v.Address.Addr()
		if name, ok := h.headAt(a); ok {
			errs = append(errs, fmt.Errorf("virtual address %s: head %s has it, and a virtual address is nobody's own", a, name))
		}
		if rec, ok := h.reg.ByAddress(a); ok {
			errs = append(errs, fmt.Errorf("virtual address %s: it is reserved for node %s: masthead node set %s --address NEW", a, rec.Name, rec.Name))
		}
		if l, ok := h.reg.LeaseByIP(a); ok && l.MAC != "" && l.Expires.After(h.started) {
			errs = append(errs, fmt.Errorf("virtual address %s: DHCP has leased it to %s", a, l.MAC))
		}
	}
	if n := len(heads); n > 2 && (doc.Arbiter == configuration.ArbiterPair || doc.Arbiter == configuration.ArbiterPanel) {
		errs = append(errs, fmt.Errorf("arbiter %s: it is for two heads, and the cluster has %d", doc.Arbiter, n))
	}
	return errors.Join(errs...)
}

// documentWarnings say what a document leaves to be wished.
func (h *Head) documentWarnings(doc configuration.Document, text []byte) ([]string, error) {
	var all []string
	heads := h.heads()
	for name := range doc.Heads {
		if _, ok := heads[name]; !ok {
			all = append(all, fmt.Sprintf("heads.%s: no such head is in the cluster yet", name))
		}
	}
	names, err := configuration.Secrets(text)
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		if _, ok := h.clusterSecret(name); !ok {
			all = append(all, fmt.Sprintf("secret %s is not there yet: masthead cluster secret %s --file FILE", name, name))
		}
	}
	fenced := slices.ContainsFunc(h.headNames(), func(name string) bool { return len(doc.Heads[name].Fence) > 0 })
	if len(heads) == 2 && len(doc.Witnesses) == 0 && !fenced {
		all = append(all, "two heads without fencing and without witnesses: when all links are silent at once, loss decides; name fence devices, or three nodes as witnesses")
	}
	slices.Sort(all)
	return all, nil
}

var secretName = regexp.MustCompile(`^[A-Za-z0-9._-]{1,64}$`)

func (a *api) setClusterSecret(ctx context.Context, c caller, r *http.Request) (any, error) {
	s, err := decode[wire.ClusterSecret](r)
	if err != nil {
		return nil, err
	}
	name := r.PathValue("name")
	if !secretName.MatchString(name) {
		return nil, &problem{http.StatusBadRequest, fmt.Sprintf("%q cannot be the name of a secret: want 1 to 64 letters, digits and ._-", name), ""}
	}
	if err := a.head.mayChange(); err != nil {
		return nil, err
	}
	op, err := state.Put(state.KindSecret, secretCluster+name, wire.ClusterSecret{Value: strings.TrimRight(s.Value, "\r\n")})
	if err != nil {
		return nil, err
	}
	_, err = a.head.store().Apply(ctx, c.origin(), op)
	return nil, err
}
