package appliance

import (
	"context"
	"errors"
	"fmt"
	"net/http"
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
		{"PUT " + wire.PathClusterSecret + "{name}", admin, "Keep a secret that the document names", wire.ClusterSecret{}, wire.ClusterSecretKept{}, a.setClusterSecret, nil},
		{"GET " + strings.TrimSuffix(wire.PathClusterSecret, "/"), admin, "List the names of secrets; no values", nil, []wire.ClusterSecretState{}, a.clusterSecrets, nil},
		{"DELETE " + wire.PathClusterSecret + "{name}", admin, "Remove a secret that the document does not name; ?dry_run", nil, wire.ClusterSecretRemoved{}, a.removeClusterSecret, nil},
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
		return nil, &problem{http.StatusConflict, fmt.Sprintf("the document was made from version %d, and version %d is in force, by %s", req.Version, now.Version, now.By), "masthead cluster edit"}
	}
	changed := wire.ClusterChanged{Version: now.Version, Diff: configuration.DiffLines(now.Text, req.Text)}
	doc, err := configuration.Parse(documentName, []byte(req.Text))
	if err != nil {
		return nil, refuseDocument(err)
	}
	if changed.Warning, err = h.checkDocument(ctx, now.Text, req, doc, a.now()); err != nil {
		return nil, refuseDocument(err)
	}
	if len(changed.Diff) == 0 || req.DryRun {
		return changed, nil
	}
	next := wire.ClusterConfig{Version: now.Version + 1, Text: req.Text, By: c.origin().Who, At: a.now().UTC()}
	op, err := state.Put(clusterKey.Kind, clusterKey.Name, next)
	if err != nil {
		return nil, err
	}
	ack, err := h.store().Apply(ctx, c.origin(), append(h.oldWishes(now.Text, doc), op.At(at))...)
	if errors.Is(err, state.ErrConflict) {
		return nil, &problem{http.StatusConflict, "somebody else changed the configuration at the same moment", "masthead cluster edit"}
	}
	if err != nil {
		return nil, err
	}
	changed.Version, changed.Applied, changed.Degraded = next.Version, true, ack.Degraded
	return changed, nil
}

// documentName is what errors call the document.
const documentName = wire.DocumentName

func refuseDocument(err error) error {
	try := "masthead cluster edit"
	var t interface{ Try() string }
	if errors.As(err, &t) && t.Try() != "" {
		try = t.Try()
	}
	return &problem{http.StatusBadRequest, err.Error(), try}
}

// unproved is what becomes of a pair in which nothing proves that the silent owner is off.
func unproved(loss configuration.Loss) string {
	if loss == configuration.LossSafe {
		return "when the owner's power is cut, nobody takes over before you have confirmed that it is off (loss: safe)"
	}
	return "when all links between them are cut, both may own (loss: available)"
}

// documentWarnings say what a document leaves to be wished.
func (h *Head) documentWarnings(doc configuration.Document) []string {
	var all []string
	heads := h.heads()
	for name := range doc.Heads {
		if _, ok := heads[name]; !ok {
			all = append(all, fmt.Sprintf("heads.%s: no such head is in the cluster yet", name))
		}
	}
	for _, d := range doc.Domains {
		for _, name := range d.Heads {
			if _, ok := heads[name]; !ok {
				all = append(all, fmt.Sprintf("domain %s: head %s is not in the cluster yet", d.Name, name))
			}
		}
	}
	fenced := slices.ContainsFunc(h.headNames(), func(name string) bool { return len(doc.Heads[name].Fence) > 0 })
	switch n := len(heads); {
	case n == 2 && doc.Arbiter == configuration.ArbiterRaft:
		all = append(all, "arbiter raft with two heads: nobody owns the cluster when one of them is off; leave arbiter out")
	case n == 2 && len(doc.Witnesses) == 0 && !fenced:
		all = append(all, fmt.Sprintf("two heads without fencing and without witnesses: %s; name fence devices, or three nodes as witnesses", unproved(doc.LossInForce())))
	case n > 2 && len(doc.Witnesses) > 0:
		all = append(all, fmt.Sprintf("witnesses: they are not asked while there are %d heads, which decide among themselves", n))
	}
	slices.Sort(all)
	return all
}
