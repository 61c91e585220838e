package service

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
)

// ocfRoot is where resource agents are installed (OCF resource agent API 1.0, 3.1).
const ocfRoot = "/usr/lib/ocf"

// Exit codes of agents (OCF resource agent API 1.1, 3.6; degraded: Pacemaker and 1.1's optional ones).
const (
	ocfArguments        = 2
	ocfUnimplemented    = 3
	ocfPrivilege        = 4
	ocfInstalled        = 5
	ocfConfigured       = 6
	ocfNotRunning       = 7
	ocfPromoted         = 8
	ocfFailedPromoted   = 9
	ocfDegraded         = 190
	ocfDegradedPromoted = 191
)

var ocfMeanings = map[int]string{
	1: "error", ocfArguments: "invalid arguments", ocfUnimplemented: "not implemented", ocfPrivilege: "insufficient privileges",
	ocfInstalled: "not installed", ocfConfigured: "not configured", ocfNotRunning: "not running", ocfFailedPromoted: "failed",
}

// agent is a resource agent.
type agent struct {
	provider, kind, file string
}

var (
	agentForm = regexp.MustCompile(`^(?:ocf::?)?([A-Za-z0-9_.-]+):([A-Za-z0-9_.-]+)$`)
	paramForm = regexp.MustCompile(`^[A-Za-z0-9_]+$`)
)

// parseAgent takes ocf:PROVIDER:TYPE, PROVIDER:TYPE, or an absolute path.
func parseAgent(name string) (agent, error) {
	if filepath.IsAbs(name) {
		name = filepath.Clean(name)
		return agent{filepath.Base(filepath.Dir(name)), filepath.Base(name), name}, nil
	}
	m := agentForm.FindStringSubmatch(name)
	if m == nil || strings.Trim(m[1], ".") == "" || strings.Trim(m[2], ".") == "" {
		return agent{}, errors.New("is no agent")
	}
	return agent{m[1], m[2], filepath.Join(ocfRoot, "resource.d", m[1], m[2])}, nil
}

// environment is what an agent finds, beside its parameters.
func (a agent) environment(instance string) []string {
	return []string{
		"OCF_ROOT=" + ocfRoot, "OCF_RA_VERSION_MAJOR=1", "OCF_RA_VERSION_MINOR=1", "OCF_RESOURCE_TYPE=" + a.kind,
		"OCF_RESOURCE_PROVIDER=" + a.provider, "OCF_RESOURCE_INSTANCE=" + instance,
	}
}

// ocf is a resource that an agent manages.
type ocf struct {
	world
	agent
	env   []string // without that of the check
	depth int
	every string // interval in ms
}

func newOCF(w world, j job) ocf {
	a, _ := parseAgent(j.res.OCF.Agent) // Validate has seen it
	o := ocf{world: w, agent: a, depth: j.res.OCF.Depth, every: strconv.FormatInt(j.res.every().Milliseconds(), 10)}
	o.env = append(append([]string(nil), j.env...), a.environment(j.service+"."+j.res.Label())...)
	o.env = append(o.env, "OCF_RESKEY_CRM_meta_timeout="+strconv.FormatInt(j.limit.Milliseconds(), 10))
	for name, value := range j.res.OCF.Params {
		o.env = append(o.env, "OCF_RESKEY_"+name+"="+value)
	}
	return o
}

func (o ocf) do(ctx context.Context, action string, env ...string) (outcome, error) {
	return o.run(ctx, command{argv: []string{o.file, action}, env: append(append([]string(nil), o.env...), env...)})
}

func (o ocf) start(ctx context.Context) error {
	r, err := o.do(ctx, "start")
	if err != nil {
		return notThere(withOutput(err, r))
	}
	err = exitError(r, ocfMeanings[r.exit])
	switch r.exit {
	case 0:
		return nil
	// "hard" and "fatal" as in Pacemaker Explained, on return codes of agents.
	case ocfArguments, ocfUnimplemented, ocfPrivilege:
		return &failure{error: err, hard: true}
	case ocfInstalled:
		return &failure{error: err, hard: true, clean: true}
	case ocfConfigured:
		return &failure{error: err, fatal: true, clean: true}
	}
	return err
}

func (o ocf) stop(ctx context.Context) error {
	r, err := o.do(ctx, "stop")
	if err != nil {
		return withOutput(err, r)
	}
	if r.exit != 0 {
		return exitError(r, ocfMeanings[r.exit])
	}
	return nil
}

func (o ocf) check(ctx context.Context) (verdict, error) {
	env := []string{"OCF_RESKEY_CRM_meta_interval=" + o.every}
	if o.depth > 0 {
		env = append(env, "OCF_CHECK_LEVEL="+strconv.Itoa(o.depth))
	}
	r, err := o.do(ctx, "monitor", env...)
	if err != nil {
		return missing(err), withOutput(err, r)
	}
	err = exitError(r, ocfMeanings[r.exit])
	switch r.exit {
	case 0, ocfDegraded, ocfPromoted, ocfDegradedPromoted:
		return up, nil
	case ocfNotRunning:
		return down, err
	case ocfInstalled:
		return absent, err
	}
	return bad, err
}

// advice is what an agent says about itself; it needs no parameters.
func (a agent) advice(ctx context.Context, run runner, env []string) (Metadata, error) {
	o, err := run(ctx, command{argv: []string{a.file, "meta-data"}, env: append(append([]string(nil), env...), a.environment("masthead")...), apart: true})
	if err != nil {
		return Metadata{}, fmt.Errorf("meta-data of %s: %w", a.file, withOutput(err, o))
	}
	if o.exit != 0 {
		return Metadata{}, fmt.Errorf("meta-data of %s: %w", a.file, exitError(outcome{exit: o.exit, output: o.errors}, ocfMeanings[o.exit]))
	}
	m, err := ParseMetadata([]byte(o.output))
	if err != nil {
		return Metadata{}, fmt.Errorf("meta-data of %s: %w", a.file, err)
	}
	return m, nil
}
