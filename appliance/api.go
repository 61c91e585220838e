package appliance

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	"masthead/appliance/pki"
	"masthead/appliance/registry"
	"masthead/appliance/state"
	"masthead/images"
	"masthead/node/wire"
)

// maxBody bounds a request: the largest is a hello with the inventory of a machine with many disks.
const maxBody = 1 << 20

// tokenLife is how long a boot's token is good for. A machine whose token has run out says hello again.
const tokenLife = 30 * 24 * time.Hour

// caller is who makes a request.
type caller struct {
	admin bool
	boot  *pki.Boot // a machine, by its boot token
	from  netip.Addr
}

// api is the HTTP API of a head.
type api struct {
	head *Head
	now  func() time.Time
}

// route is one row of the API. It is also what openapi.json is made from.
type route struct {
	pattern string // of http.ServeMux
	access  access
	summary string
	in, out any // examples of the bodies; nil: none
	handle  func(ctx context.Context, c caller, r *http.Request) (any, error)
	stream  func(w http.ResponseWriter, r *http.Request) // instead of handle
}

// access says who may call a route.
type access string

const (
	anybody access = "anybody"
	machine access = "machine" // with its boot token; the administrator too
	admin   access = "administrator"
)

func (a *api) routes() []route {
	return slices.Concat(a.coreRoutes(), a.groupRoutes(), a.auditRoutes(), a.headRoutes(), a.stateRoutes(), a.fileRoutes(), a.commandRoutes(),
		a.clusterRoutes(), a.ownerRoutes(), a.dataRoutes(), a.snapshotRoutes(), a.mediumRoutes())
}

func (a *api) coreRoutes() []route {
	return []route{
		{"POST " + wire.PathHello, anybody, "A machine asks what to run", wire.Hello{}, wire.Spec{}, a.hello, nil},
		{"POST " + wire.PathReport, machine, "A machine tells how it is", wire.Report{}, nil, a.report, nil},
		{"GET " + wire.PathStatus, admin, "The cluster on one page", nil, wire.Status{}, a.status, nil},
		{"GET " + wire.PathNodes, admin, "List nodes; ?set=NODESET selects, ?brief leaves out their inventories", nil, []wire.Node{}, a.nodes, nil},
		{"POST " + wire.PathNodes, admin, "Add a node", wire.NodeChange{}, wire.Changed{}, a.addNode, nil},
		{"PATCH " + wire.PathNodes, admin, "Change all nodes of ?set=NODESET in the same way, or none", wire.NodeChange{}, []wire.Changed{}, a.changeNodes, nil},
		{"DELETE " + wire.PathNodes, admin, "Forget all nodes of ?set=NODESET, or none; ?dry_run only says which", nil, []wire.Changed{}, a.removeNodes, nil},
		{"GET " + wire.PathNode + "{name}", admin, "Show a node", nil, wire.Node{}, a.node, nil},
		{"PATCH " + wire.PathNode + "{name}", admin, "Change a node", wire.NodeChange{}, wire.Changed{}, a.changeNode, nil},
		{"DELETE " + wire.PathNode + "{name}", admin, "Forget a node; ?dry_run only says what that is", nil, wire.Changed{}, a.removeNode, nil},
		{"GET " + wire.PathNode + "{name}/why", admin, "Explain a node's last boot", nil, wire.Why{}, a.why, nil},
		{"GET " + wire.PathSettings, admin, "Show the settings of the cluster", nil, wire.Settings{}, a.settings, nil},
		{"PATCH " + wire.PathSettings, admin, "Change the settings of the cluster", wire.SettingsChange{}, wire.SettingsChanged{}, a.changeSettings, nil},
		{"GET " + wire.PathImages, admin, "List images", nil, []wire.Image{}, a.images, nil},
		{"GET " + wire.PathEvents, admin, "Follow the events of the cluster (server-sent events)", nil, wire.Event{}, nil, a.events},
		{"GET " + wire.PathBlob + "{digest}", machine, "A manifest or a chunk, by digest", nil, nil, nil, a.head.blobs.ServeHTTP},
		{"GET " + wire.PathOpenAPI, anybody, "This API, as an OpenAPI document", nil, map[string]any{}, a.openAPI, nil},
	}
}

// handler serves the API. local is true on the socket that only root can use.
func (a *api) handler(local bool) http.Handler {
	mux := http.NewServeMux()
	for _, r := range a.routes() {
		mux.Handle(r.pattern, a.serve(r, local))
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		writeProblem(w, &problem{http.StatusNotFound, "no such path: " + r.URL.Path, wire.PathOpenAPI + " lists them all"})
	})
	return mux
}

func (a *api) serve(rt route, local bool) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, err := a.caller(r, local)
		if err == nil {
			err = c.may(rt.access)
		}
		if err != nil {
			writeProblem(w, err)
			return
		}
		if rt.stream != nil {
			rt.stream(w, r.WithContext(context.WithValue(r.Context(), callerKey{}, c)))
			return
		}
		r.Body = http.MaxBytesReader(w, r.Body, maxBody)
		out, err := rt.handle(r.Context(), c, r)
		if err != nil {
			writeProblem(w, err)
			return
		}
		if out == nil {
			w.WriteHeader(http.StatusNoContent)
			return
		}
		writeJSON(w, http.StatusOK, out)
	})
}

// caller finds out who asks. A token that is there and wrong is an error, also where none was needed.
func (a *api) caller(r *http.Request, local bool) (caller, error) {
	c := caller{admin: local}
	if host, _, err := net.SplitHostPort(r.RemoteAddr); err == nil {
		c.from, _ = netip.ParseAddr(host)
	}
	token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !ok || local {
		return c, nil
	}
	if a.head.admin.Verify(token) {
		c.admin = true
		return c, nil
	}
	boot, err := a.head.tokens.Verify(token, a.now())
	if err != nil {
		return c, &problem{http.StatusUnauthorized, "the token is not valid", "--token-file FILE; the head keeps it in " + AdminTokenFile}
	}
	c.boot = &boot
	return c, nil
}

func (c caller) may(need access) error {
	switch {
	case c.admin, need == anybody, need == machine && c.boot != nil:
		return nil
	case c.boot != nil:
		return &problem{http.StatusForbidden, "this takes the administrator's token", ""}
	}
	return &problem{http.StatusUnauthorized, "this takes a token", "masthead --token-file FILE …; the head keeps it in " + AdminTokenFile}
}

// origin is who makes a change, for the audit log.
func (c caller) origin() state.Origin {
	where := "local"
	if c.from.IsValid() {
		where = c.from.String()
	}
	return state.Origin{Who: "admin", Where: where}
}

// problem is an answer that is no success.
type problem struct {
	status int
	detail string
	try    string
}

func (p *problem) Error() string { return p.detail }

// Try is what to type.
func (p *problem) Try() string { return p.try }

// writeProblem answers with what went wrong. An error that is nobody's mistake but ours is a 500.
func writeProblem(w http.ResponseWriter, err error) {
	p := wire.Problem{Status: http.StatusInternalServerError, Detail: err.Error()}
	var own *problem
	var tooBig *http.MaxBytesError
	switch {
	case errors.As(err, &own):
		p.Status, p.Try = own.status, own.try
	case errors.Is(err, registry.ErrNotFound):
		p.Status = http.StatusNotFound
	case errors.Is(err, registry.ErrInvalid):
		p.Status = http.StatusBadRequest
	case errors.Is(err, registry.ErrConflict):
		p.Status = http.StatusConflict
	case errors.Is(err, state.ErrReadOnly):
		p.Status = http.StatusInsufficientStorage
	case errors.As(err, &tooBig):
		p.Status = http.StatusRequestEntityTooLarge
	}
	var t interface{ Try() string }
	if p.Try == "" && errors.As(err, &t) {
		p.Try = t.Try()
	}
	writeJSON(w, p.Status, p)
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // a client that has gone needs no answer
}

// decode reads a request's body. What it does not know it refuses: a field that is ignored is a change that is not made.
func decode[T any](r *http.Request) (T, error) {
	var v T
	dec := json.NewDecoder(r.Body)
	dec.DisallowUnknownFields()
	err := dec.Decode(&v)
	if err == nil {
		if _, e := dec.Token(); e != io.EOF {
			err = errors.New("more than one JSON value")
		}
	}
	if err != nil {
		var tooBig *http.MaxBytesError
		if errors.As(err, &tooBig) {
			return v, err
		}
		return v, &problem{http.StatusBadRequest, fmt.Sprintf("the body is not what this takes: %v", err), ""}
	}
	return v, nil
}

func (a *api) hello(ctx context.Context, c caller, r *http.Request) (any, error) {
	h, err := decode[wire.Hello](r)
	if err != nil {
		return nil, err
	}
	if h.Role != images.RoleHead {
		h.Role = images.RoleWorker // what a machine is that does not say
	}
	now := a.now()
	spec, err := a.head.reg.Hello(ctx, h, c.from, now)
	if err != nil {
		return nil, err
	}
	spec.Time = now.UTC()
	if spec.Verdict != wire.VerdictBoot {
		return spec, nil
	}
	spec.Token, err = a.head.tokens.Issue(pki.Boot{ID: h.Boot, MAC: strings.ToLower(h.MAC), Role: h.Role, Expires: now.Add(tokenLife)})
	if err != nil {
		return nil, fmt.Errorf("make a boot token: %w", err)
	}
	a.head.complete(&spec)
	return spec, nil
}

func (a *api) report(_ context.Context, c caller, r *http.Request) (any, error) {
	rep, err := decode[wire.Report](r)
	if err != nil {
		return nil, err
	}
	if !c.admin && (c.boot.MAC != strings.ToLower(rep.MAC) || c.boot.ID != rep.Boot) {
		return nil, &problem{http.StatusForbidden, "the token is of another machine or of another boot", ""}
	}
	return nil, a.head.reg.Report(rep, a.now())
}

func (a *api) status(context.Context, caller, *http.Request) (any, error) {
	return a.head.status(a.now())
}

func (a *api) nodes(_ context.Context, _ caller, r *http.Request) (any, error) {
	list := a.head.reg.List
	if r.URL.Query().Has("brief") {
		list = a.head.reg.Brief
	}
	return list(r.URL.Query().Get("set"), a.now())
}

func (a *api) node(_ context.Context, _ caller, r *http.Request) (any, error) {
	return a.head.reg.Node(r.PathValue("name"), a.now())
}

func (a *api) addNode(ctx context.Context, c caller, r *http.Request) (any, error) {
	ch, err := decode[wire.NodeChange](r)
	if err != nil {
		return nil, err
	}
	return a.head.reg.Add(ctx, c.origin(), ch)
}

func (a *api) changeNode(ctx context.Context, c caller, r *http.Request) (any, error) {
	ch, err := decode[wire.NodeChange](r)
	if err != nil {
		return nil, err
	}
	if err := a.head.reg.HeadsKeepIdentity([]string{r.PathValue("name")}, ch); err != nil {
		return nil, err
	}
	changed, err := a.head.reg.Set(ctx, c.origin(), []string{r.PathValue("name")}, ch)
	if err != nil {
		return nil, err
	}
	return changed[0], nil
}

func (a *api) removeNode(ctx context.Context, c caller, r *http.Request) (any, error) {
	if err := a.head.reg.HeadsStay([]string{r.PathValue("name")}); err != nil {
		return nil, err
	}
	removed, err := a.head.reg.Remove(ctx, c.origin(), []string{r.PathValue("name")}, r.URL.Query().Has("dry_run"))
	if err != nil {
		return nil, err
	}
	return removed[0], nil
}

func (a *api) why(_ context.Context, _ caller, r *http.Request) (any, error) {
	return a.head.reg.Why(r.PathValue("name"), a.now())
}

func (a *api) settings(context.Context, caller, *http.Request) (any, error) {
	return a.head.reg.Settings(), nil
}

func (a *api) changeSettings(ctx context.Context, c caller, r *http.Request) (any, error) {
	ch, err := decode[wire.SettingsChange](r)
	if err != nil {
		return nil, err
	}
	return a.head.reg.ChangeSettings(ctx, c.origin(), ch)
}

func (a *api) images(context.Context, caller, *http.Request) (any, error) {
	return a.head.images()
}

// events streams the cluster's events, the last ones first (HTML standard, 9.2 server-sent events).
func (a *api) events(w http.ResponseWriter, r *http.Request) {
	flusher, ok := w.(http.Flusher)
	if !ok {
		writeProblem(w, errors.New("this connection cannot stream"))
		return
	}
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	var since uint64
	for {
		events, last, err := a.head.reg.Log().Next(r.Context(), since)
		if err != nil {
			return // the client has gone
		}
		since = last
		for _, e := range events {
			data, err := json.Marshal(e)
			if err != nil {
				return
			}
			if _, err := fmt.Fprintf(w, "data: %s\n\n", data); err != nil {
				return
			}
		}
		flusher.Flush()
	}
}
