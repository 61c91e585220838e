package appliance

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	"masthead/appliance/command"
	"masthead/appliance/nodeset"
	"masthead/node/wire"
)

// commandRoutes are the API of commands on nodes.
func (a *api) commandRoutes() []route {
	return []route{
		{"POST " + wire.PathCommands, admin, "Have nodes do something; the input for each follows the first line; the answer is one event a line",
			wire.CommandRequest{}, wire.CommandEvent{}, nil, a.command},
		{"GET " + wire.PathChannel, machine, "A machine's command channel, after an upgrade to " + wire.ChannelProtocol, nil, nil, nil, a.channel},
		{"GET " + wire.PathInput + "{id}", machine, "A machine fetches the input of a command", nil, nil, nil, a.commandInput},
		{"GET " + wire.PathMine, machine, "A machine asks for its heads, the names of the cluster and its SSH keys", nil, wire.Mine{}, a.mine, nil},
	}
}

// commandPeerRoutes are what heads ask of one another about commands.
func (a *api) commandPeerRoutes() []peerRoute {
	return []peerRoute{
		{"POST " + wire.PathPeerCommands, http.HandlerFunc(a.peerCommand)},
		{"POST " + wire.PathPeerAttached, http.HandlerFunc(a.peerAttached)},
	}
}

// maxCommandLine bounds the JSON of a request: a script, and the names of the largest cluster.
const maxCommandLine = 32 << 20

// firstLine reads the JSON on the first line of a body, and gives what follows it.
func firstLine[T any](r *http.Request) (T, io.Reader, error) {
	var v T
	in := bufio.NewReader(r.Body)
	dec := json.NewDecoder(&io.LimitedReader{R: in, N: maxCommandLine})
	dec.DisallowUnknownFields()
	if err := dec.Decode(&v); err != nil {
		return v, nil, &problem{http.StatusBadRequest, fmt.Sprintf("the first line is not what this takes: %v", err), ""}
	}
	rest := bufio.NewReader(io.MultiReader(dec.Buffered(), in))
	if c, err := rest.ReadByte(); err == nil && c != '\n' {
		return v, nil, &problem{http.StatusBadRequest, "the first line does not end after the JSON value; what follows a newline is the input", ""}
	}
	return v, rest, nil
}

// command runs what an administrator asks for.
func (a *api) command(w http.ResponseWriter, r *http.Request) {
	req, input, err := firstLine[wire.CommandRequest](r)
	if err == nil {
		err = invalid(req.Command.Validate())
	}
	var targets []wire.Target
	var note string
	if err == nil {
		targets, note, err = a.targets(req.Nodes)
	}
	if err != nil {
		writeProblem(w, err)
		return
	}
	d, ctx := a.head.commands, r.Context()
	peers := a.head.commandPeers()
	if req.DryRun {
		route := d.Find(ctx, targets, peers)
		route.Plan.DryRun = true
		emit := noteWriter(w, note)
		for _, note := range route.Notes {
			_ = emit(wire.CommandEvent{Note: note}) // a client that has gone needs no answer
		}
		_ = emit(wire.CommandEvent{Plan: &route.Plan})
		return
	}
	// All of the input first: then no slow or broken sender leaves half a file on half of the nodes.
	in, err := d.TakeInput(input)
	if err != nil {
		writeProblem(w, err)
		return
	}
	defer in.Close()
	a.noteCommand(ctx, req, in.Size())
	fanout := req.Fanout
	if fanout <= 0 {
		fanout = wire.DefaultFanout
	}
	_ = d.RunAll(ctx, d.Find(ctx, targets, peers), req.Command, in, fanout, noteWriter(w, note)) // it fails only when the client has gone
}

// noteWriter is eventWriter with a note first, if there is one.
func noteWriter(w http.ResponseWriter, note string) command.Emit {
	emit := eventWriter(w)
	if note != "" {
		_ = emit(wire.CommandEvent{Note: note}) // a client that has gone needs no answer
	}
	return emit
}

// eventWriter answers with one event a line, each as soon as it is there.
func eventWriter(w http.ResponseWriter) command.Emit {
	w.Header().Set("Content-Type", "application/jsonl")
	w.Header().Set("Cache-Control", "no-store")
	enc, flush := json.NewEncoder(w), http.NewResponseController(w)
	return func(e wire.CommandEvent) error {
		if err := enc.Encode(e); err != nil {
			return err
		}
		return flush.Flush()
	}
}

func invalid(err error) error {
	if err == nil {
		return nil
	}
	return &problem{http.StatusBadRequest, err.Error(), "masthead node --help"}
}

// targets are the nodes of a set, heads only where it asks for them, and what is to be said of it.
func (a *api) targets(set string) (targets []wire.Target, note string, err error) {
	if strings.TrimSpace(set) == "" {
		return nil, "", &problem{http.StatusBadRequest, "no nodes are named", "@" + nodeset.All + " for all workers"}
	}
	now := a.now()
	nodes, err := a.head.reg.List(set, now)
	if err == nil {
		nodes, note, err = a.meant(set, nodes)
	}
	if err != nil {
		return nil, "", err
	}
	targets = make([]wire.Target, len(nodes))
	for i, n := range nodes {
		targets[i] = wire.Target{Name: n.Name, MAC: n.MAC, Absent: howAbsent(n, now)}
	}
	return targets, note, nil
}

// howAbsent is what is known of a node that no head reaches.
func howAbsent(n wire.Node, now time.Time) string {
	text := "is " + string(n.Phase)
	if !n.Seen.IsZero() {
		text += fmt.Sprintf(", heard of %v ago", now.Sub(n.Seen).Round(time.Second))
		if n.Head != "" {
			text += " by " + n.Head
		}
	}
	return text
}

// noteCommand enters in the audit log who has which nodes do what; never what the input holds. A state that takes no
// writes does not stop commands: they may be what mends it.
func (a *api) noteCommand(ctx context.Context, req wire.CommandRequest, input int64) {
	text, o := commandText(req, input), callerOf(ctx).origin()
	a.head.reg.Event(wire.Event{Time: a.now(), Kind: "admin", Text: text + ", by " + o.Who + " from " + o.Where})
	if err := a.head.db.Note(ctx, o, text); err != nil {
		a.head.log.Error("a command is not in the audit log", "command", text, "who", o.Who, "from", o.Where, "err", err)
	}
}

// maxNoted bounds the words of a command in the audit log.
const maxNoted = 2000

// commandText says what a request does.
func commandText(req wire.CommandRequest, input int64) string {
	c, what := req.Command, ""
	switch {
	case c.Kind == wire.CommandCopy:
		what = "copy to " + c.Dest
	case c.Kind == wire.CommandTask:
		what = "script " + c.Task
	case c.Script != "":
		line, _, _ := strings.Cut(c.Script, "\n")
		what = fmt.Sprintf("exec a script of %d bytes (%s) %q", len(c.Script), line, c.Argv)
	case c.Shell != "":
		what = "exec " + c.Shell
	default:
		what = fmt.Sprintf("exec %q", c.Argv)
	}
	if len(what) > maxNoted {
		what = strings.ToValidUTF8(what[:maxNoted], "") + "…"
	}
	if input > 0 {
		what += fmt.Sprintf(", %d bytes of input", input)
	}
	return fmt.Sprintf("node %s on %s", what, req.Nodes)
}

// channel is the connection by which this head reaches a machine.
func (a *api) channel(w http.ResponseWriter, r *http.Request) {
	c := callerOf(r.Context())
	if !strings.EqualFold(r.Header.Get("Upgrade"), wire.ChannelProtocol) {
		writeProblem(w, &problem{http.StatusUpgradeRequired, "this is for agents, which ask for an upgrade to " + wire.ChannelProtocol, ""})
		return
	}
	conn, buf, err := http.NewResponseController(w).Hijack()
	if err != nil {
		writeProblem(w, fmt.Errorf("command channel: %w", err))
		return
	}
	defer conn.Close()
	defer context.AfterFunc(r.Context(), func() { conn.Close() })()
	mac, list, err := a.attach(conn, buf, c)
	if err == nil {
		err = a.head.commands.Attach(mac, list, conn, buf.Reader)
	}
	if err != nil && r.Context().Err() == nil {
		a.head.log.Info("command channel", "from", c.from, "err", err)
	}
}

// attachTime is for the first frame of a channel.
const attachTime = 10 * time.Second

// attach finds out which machine a channel is of.
func (a *api) attach(conn net.Conn, buf *bufio.ReadWriter, c caller) (mac, list string, err error) {
	if err := conn.SetDeadline(time.Now().Add(attachTime)); err != nil {
		return "", "", err
	}
	_, err = conn.Write([]byte("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: " + wire.ChannelProtocol + "\r\n\r\n"))
	if err != nil {
		return "", "", err
	}
	f, err := wire.ReadFrame(buf.Reader, wire.MaxMachineFrame)
	if err != nil {
		return "", "", err
	}
	if f.Kind != wire.FrameAttach {
		return "", "", fmt.Errorf("the first frame is %q", f.Kind)
	}
	mac = strings.ToLower(f.MAC)
	if c.boot != nil && (c.boot.MAC != mac || c.boot.ID != f.Boot) {
		return "", "", errors.New("the token is of another machine or of another boot")
	}
	node, ok := a.machineNode(mac)
	if !ok {
		return "", "", fmt.Errorf("no node has the MAC address %s", mac)
	}
	return node.MAC, f.List, conn.SetDeadline(time.Time{})
}

// machineNode is the node that a machine with that MAC is, by the NIC that it boots from or by another of it.
func (a *api) machineNode(mac string) (wire.Node, bool) {
	if rec, ok := a.head.reg.ByMAC(mac); ok {
		n, err := a.head.reg.Node(rec.Name, a.now())
		return n, err == nil
	}
	nodes, err := a.head.reg.List("", a.now())
	if err != nil {
		return wire.Node{}, false
	}
	i := slices.IndexFunc(nodes, func(n wire.Node) bool { return slices.Contains(n.Inventory.MACs, mac) })
	if i < 0 {
		return wire.Node{}, false
	}
	return nodes[i], true
}

// commandInput gives a machine the input of a command that it was told to run.
func (a *api) commandInput(w http.ResponseWriter, r *http.Request) {
	mac := ""
	if boot := callerOf(r.Context()).boot; boot != nil {
		if node, ok := a.machineNode(boot.MAC); ok {
			mac = node.MAC
		} else {
			mac = boot.MAC
		}
	}
	in, err := a.head.commands.Lent(r.PathValue("id"), mac)
	if err != nil {
		writeProblem(w, &problem{http.StatusNotFound, err.Error(), ""})
		return
	}
	w.Header().Set("Content-Length", fmt.Sprint(in.Size()))
	_, _ = io.Copy(w, in.Reader()) // a machine that has gone needs no answer
}

// mine is what a machine asks for when its list of heads, its names or its keys are to be refreshed.
func (a *api) mine(_ context.Context, c caller, r *http.Request) (any, error) {
	if c.boot == nil {
		return nil, &problem{http.StatusBadRequest, "this is for machines, with their boot token", ""}
	}
	node, ok := a.machineNode(c.boot.MAC)
	if !ok {
		return nil, &problem{http.StatusNotFound, "no node has the MAC address " + c.boot.MAC, "masthead node list"}
	}
	spec := wire.Spec{Name: node.Name}
	a.head.complete(&spec)
	return wire.Mine{Name: node.Name, Heads: spec.Heads, Hosts: spec.Hosts, SSHKeys: spec.SSHKeys}, nil
}

// openCommands prepares the command channels of nodes.
func (h *Head) openCommands() {
	h.commands = command.New(command.Config{Head: h.cfg.Name, Spool: h.cfg.StateDir, Heads: h.machineHeads, Vote: h.machineVote, Log: h.log})
}

// machineHeads is the list of heads that a machine should have.
func (h *Head) machineHeads(mac string) []wire.Head {
	rec, ok := h.reg.ByMAC(mac)
	if !ok {
		return nil
	}
	return h.headsFor(rec.Name)
}

// commandPeers are the other heads, for commands on nodes that this one does not reach.
func (h *Head) commandPeers() []command.Peer {
	records := h.peerRecords()
	var peers []command.Peer
	for _, name := range slices.Sorted(maps.Keys(records)) {
		c := &wire.Client{Base: records[name].URL(), HTTP: h.peerClient(name)}
		peers = append(peers, command.Peer{
			Name: name,
			Attached: func(ctx context.Context, macs []string) (map[string]time.Duration, error) {
				heard, err := c.PeerAttached(ctx, macs)
				out := make(map[string]time.Duration, len(heard))
				for mac, seconds := range heard {
					out[mac] = time.Duration(seconds * float64(time.Second))
				}
				return out, err
			},
			Run: func(ctx context.Context, req wire.PeerRequest, input io.Reader, emit command.Emit) error {
				return c.PeerCommand(ctx, req, input, emit)
			},
		})
	}
	return peers
}

// peerAttached answers which of some machines this head reaches.
func (a *api) peerAttached(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, maxCommandLine)
	macs, err := decode[[]string](r)
	if err != nil {
		writeProblem(w, err)
		return
	}
	out := map[string]float64{}
	for mac, ago := range a.head.commands.Attached(macs) {
		out[mac] = ago.Seconds()
	}
	writeJSON(w, http.StatusOK, out)
}

// peerCommand runs another head's part of a command on the machines that are attached here. It asks no further head.
func (a *api) peerCommand(w http.ResponseWriter, r *http.Request) {
	req, input, err := firstLine[wire.PeerRequest](r)
	if err == nil {
		err = invalid(req.Command.Validate())
	}
	if err != nil {
		writeProblem(w, err)
		return
	}
	in, err := a.head.commands.TakeInput(input)
	if err != nil {
		writeProblem(w, err)
		return
	}
	defer in.Close()
	names := make([]string, len(req.Targets))
	for i, t := range req.Targets {
		names[i] = t.Name
	}
	emit := eventWriter(w)
	if emit(wire.CommandEvent{Plan: &wire.CommandPlan{Nodes: names}}) != nil {
		return
	}
	_ = a.head.commands.Run(r.Context(), req.Targets, req.Command, in, req.Fanout, emit) // it fails only when the other head has gone
}

type callerKey struct{}

// callerOf is who makes the request, inside the handler of a stream.
func callerOf(ctx context.Context) caller {
	c, _ := ctx.Value(callerKey{}).(caller)
	return c
}
