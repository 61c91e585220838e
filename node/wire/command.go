package wire

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"
)

// Paths of commands on nodes.
const (
	PathCommands = "/api/v1/commands"      // POST CommandRequest, a newline and the input → CommandEvent, one a line; administrator
	PathChannel  = "/api/v1/agent/channel" // GET with Upgrade: ChannelProtocol; boot token: how a head reaches a machine
	PathInput    = "/api/v1/agent/input/"  // ID: GET, the input of a command; boot token
	PathMine     = "/api/v1/agent/mine"    // GET Mine; boot token

	PathPeerCommands = "/peer/v1/commands"          // POST PeerRequest, a newline and the input → CommandEvent, one a line; heads
	PathPeerAttached = "/peer/v1/commands/attached" // POST []string, MACs → map of MAC to seconds since it was heard; heads
)

// ChannelProtocol is what the command channel upgrades an HTTP connection to (RFC 9110, 7.8).
const ChannelProtocol = "masthead-command"

// Limits of commands, the same on the node, the head and the command line.
const (
	DefaultCommandTimeout = 30 * time.Second
	MaxCommandTimeout     = 24 * time.Hour
	DefaultFanout         = 64      // nodes at once
	MaxScript             = 1 << 20 // bytes of a script
	MaxCommandInput       = 1 << 30 // bytes of standard input or of copied files: it lies on the head's disk meanwhile, and then in nodes' memory
	DefaultCommandOutput  = 1 << 20 // bytes of output of each node, where it is held to be folded
)

// CommandKind is what sort of thing a node is to do.
type CommandKind string

const (
	CommandExec CommandKind = "exec" // run a program, a shell line or a script
	CommandCopy CommandKind = "copy" // take files, a tar archive on its input
	CommandTask CommandKind = "task" // something that the agent does itself
)

// Tasks that an agent knows.
const (
	TaskFetchHosts = "fetch-hosts" // ask for the list of heads and the names of the cluster, and rewrite /etc/hosts
	TaskUpdateKeys = "update-keys" // ask for the SSH keys of the administrators, and rewrite authorized_keys
)

// Command is what one node is to do.
type Command struct {
	Kind    CommandKind `json:"kind"`
	Argv    []string    `json:"argv,omitempty"`   // exec: a program and its arguments; with Script, the arguments alone
	Shell   string      `json:"shell,omitempty"`  // exec: a line for the node's own shell instead
	Script  string      `json:"script,omitempty"` // exec: the text of a script instead; run by its #! line, or by the shell
	Env     []string    `json:"env,omitempty"`    // exec: NAME=VALUE, added to the node's own
	Dest    string      `json:"dest,omitempty"`   // copy: an absolute path; the names in the archive are below it
	Task    string      `json:"task,omitempty"`
	Timeout float64     `json:"timeout"` // seconds; its process group is killed then
	Output  int64       `json:"output"`  // bytes of output that are handed on; the rest is dropped and said to be
}

// Validate checks what does not depend on a node.
func (c Command) Validate() error {
	ways := 0
	for _, set := range []bool{len(c.Argv) > 0 && c.Script == "", c.Shell != "", c.Script != ""} {
		if set {
			ways++
		}
	}
	switch {
	case c.Kind == CommandExec && ways != 1:
		return errors.New("command: want one of argv, shell and script")
	case len(c.Script) > MaxScript:
		return fmt.Errorf("command: a script of %d bytes, at most %d", len(c.Script), MaxScript)
	case c.Kind == CommandCopy && (len(c.Dest) == 0 || c.Dest[0] != '/'):
		return fmt.Errorf("command: destination %q: want an absolute path", c.Dest)
	case c.Kind == CommandTask && c.Task != TaskFetchHosts && c.Task != TaskUpdateKeys:
		return fmt.Errorf("command: task %q: want %s or %s", c.Task, TaskFetchHosts, TaskUpdateKeys)
	case c.Kind != CommandExec && c.Kind != CommandCopy && c.Kind != CommandTask:
		return fmt.Errorf("command: kind %q: want exec, copy or task", c.Kind)
	case !(c.Timeout > 0 && c.Timeout <= MaxCommandTimeout.Seconds()):
		return fmt.Errorf("command: timeout of %v s: want more than none and at most %v", c.Timeout, MaxCommandTimeout)
	case c.Output <= 0:
		return fmt.Errorf("command: %d bytes of output: want more than none", c.Output)
	}
	return nil
}

// CommandRequest asks a head to have nodes do something. In the body of a request it stands on the first line; what
// follows the newline is the input that each node gets.
type CommandRequest struct {
	Nodes   string  `json:"nodes"` // a node set
	Command Command `json:"command"`
	Fanout  int     `json:"fanout,omitempty"` // nodes at once, over all heads; 0: DefaultFanout
	DryRun  bool    `json:"dry_run,omitempty"`
}

// Target is a node for which a command is.
type Target struct {
	Name   string `json:"name"`
	MAC    string `json:"mac"`
	Absent string `json:"absent,omitempty"` // how it is if no head reaches it: down, heard of …
}

// PeerRequest asks a head to run a command on those nodes that are attached to it.
type PeerRequest struct {
	Targets []Target `json:"targets"`
	Command Command  `json:"command"`
	Fanout  int      `json:"fanout"`
}

// CommandEvent is one line of the answer to a CommandRequest. The first, but for
// a Note, has Plan; the last of each node has Done.
type CommandEvent struct {
	Plan   *CommandPlan   `json:"plan,omitempty"`
	Note   string         `json:"note,omitempty"` // about no node in particular: a head that does not answer, heads that the set left out
	Node   string         `json:"node,omitempty"`
	Stdout []byte         `json:"stdout,omitempty"`
	Stderr []byte         `json:"stderr,omitempty"`
	Done   *CommandResult `json:"done,omitempty"`
}

// CommandPlan is what a command is going to reach.
type CommandPlan struct {
	Nodes  []string            `json:"nodes"`            // all that the set names
	Heads  map[string][]string `json:"heads"`            // the nodes that each head reaches
	Absent map[string]string   `json:"absent,omitempty"` // those that none does, and why
	DryRun bool                `json:"dry_run,omitempty"`
}

// CommandResult is how a command ended on a node.
type CommandResult struct {
	Exit      int     `json:"exit"`
	Error     string  `json:"error,omitempty"` // why it did not run, or not to its end; Exit says nothing then
	Try       string  `json:"try,omitempty"`
	Head      string  `json:"head,omitempty"` // that reached the node
	Took      float64 `json:"took"`           // seconds
	Truncated bool    `json:"truncated,omitempty"`
}

// CommandLost is the Error of a command whose machine was lost while it ran: whether it was done is not known. A restart ends
// so, if the machine is quick.
const CommandLost = "the connection to it was lost; the command may go on there until its timeout"

// Failed reports whether the command did not do what it should.
func (r CommandResult) Failed() bool { return r.Exit != 0 || r.Error != "" }

// Mine is what the head has for one machine, as it stands now.
type Mine struct {
	Name    string   `json:"name"`
	Heads   []Head   `json:"heads"` // in the order to try
	Hosts   []Host   `json:"hosts"`
	SSHKeys []string `json:"ssh_keys"`
}

// FrameKind is what a frame of the command channel is.
type FrameKind string

const (
	FrameAttach FrameKind = "attach" // machine, first: who it is
	FramePing   FrameKind = "ping"   // machine: it lives, and which list of heads it has
	FramePong   FrameKind = "pong"   // head: it lives, and the list if it is another
	FrameRun    FrameKind = "run"    // head: a command
	FrameGrant  FrameKind = "grant"  // head: so much more output may come
	FrameCancel FrameKind = "cancel" // head: nobody waits for it any more: kill it
	FrameOutput FrameKind = "output" // machine
	FrameExit   FrameKind = "exit"   // machine: how the command ended
)

// Frame is one message of the command channel.
type Frame struct {
	Kind    FrameKind      `json:"kind"`
	ID      string         `json:"id,omitempty"` // of the command
	MAC     string         `json:"mac,omitempty"`
	Boot    string         `json:"boot,omitempty"`
	Heads   []Head         `json:"heads,omitempty"` // pong: the machine's list of heads, when its own is another
	List    string         `json:"list,omitempty"`  // attach, ping: HeadList of the list that the machine has
	Vote    *Vote          `json:"vote,omitempty"`  // pong: the machine is a witness of who owns the cluster; nil: it is not
	Command *Command       `json:"command,omitempty"`
	Input   int64          `json:"input,omitempty"`  // run: bytes to fetch at PathInput
	Inline  []byte         `json:"inline,omitempty"` // run: the input itself, if it is small
	Grant   int64          `json:"grant,omitempty"`
	Stdout  []byte         `json:"stdout,omitempty"`
	Stderr  []byte         `json:"stderr,omitempty"`
	Result  *CommandResult `json:"result,omitempty"`
}

// Vote is what a witness must know.
type Vote struct {
	Cluster string        `json:"cluster"` // its name, as heads ask with
	Key     []byte        `json:"key"`     // of asks and answers
	Longest time.Duration `json:"longest"` // of the leases that it may grant
	Margin  time.Duration `json:"margin"`
}

const (
	// CommandWindow is how much output (by Cost) of a command may be on its way: a reader that is slow stops the command
	// that writes, and nobody else.
	CommandWindow = 256 << 10
	// frameCost stands for what a frame takes besides its data, so that a window bounds their number too.
	frameCost = 256

	// MaxMachineFrame and MaxHeadFrame bound what a head takes of a machine, and a machine of its head.
	MaxMachineFrame = 256 << 10
	MaxHeadFrame    = 8 << 20

	// ChannelPing is the time between two signs of life of a machine, ChannelSilence how long either side waits for one.
	ChannelPing    = 20 * time.Second
	ChannelSilence = 50 * time.Second
)

// Cost is what an output frame takes of its command's window.
func (f Frame) Cost() int64 { return int64(len(f.Stdout)+len(f.Stderr)) + frameCost }

// WriteFrame writes a frame in one piece: its length in four bytes, big endian, and JSON.
func WriteFrame(w io.Writer, f Frame) error {
	data, err := json.Marshal(f)
	if err != nil {
		return fmt.Errorf("command channel: %w", err)
	}
	buf := make([]byte, 4, 4+len(data))
	binary.BigEndian.PutUint32(buf, uint32(len(data)))
	_, err = w.Write(append(buf, data...))
	return err
}

// ReadFrame reads a frame of at most limit bytes. io.EOF is an end between two frames.
func ReadFrame(r io.Reader, limit int) (Frame, error) {
	var head [4]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return Frame{}, err
	}
	n := binary.BigEndian.Uint32(head[:])
	if n > uint32(limit) {
		return Frame{}, fmt.Errorf("command channel: a frame of %d bytes, at most %d", n, limit)
	}
	data := make([]byte, n)
	if _, err := io.ReadFull(r, data); err != nil {
		return Frame{}, fmt.Errorf("command channel: %w", errors.Join(io.ErrUnexpectedEOF, err))
	}
	var f Frame
	if err := json.Unmarshal(data, &f); err != nil {
		return Frame{}, fmt.Errorf("command channel: %w", err)
	}
	return f, nil
}

// HeadList names a list of heads: two lists are the same if this is.
func HeadList(heads []Head) string {
	data, _ := json.Marshal(heads) // strings: cannot fail
	return fmt.Sprintf("%x", sumOf(data))
}
