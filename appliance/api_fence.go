package appliance

import (
	"context"
	"net/http"
	"time"

	"masthead/appliance/fence"
	"masthead/node/wire"
)

// describeWait bounds running an agent for its description: a program of fence-agents takes a second or two to start.
const describeWait = 10 * time.Second

func (a *api) testFence(ctx context.Context, _ caller, r *http.Request) (any, error) {
	all, err := a.head.owner.FenceTest(ctx, r.PathValue("head"))
	if err != nil {
		return nil, a.head.ownerGone(err)
	}
	return all, nil
}

func (a *api) fenceAgents(context.Context, caller, *http.Request) (any, error) {
	return fence.Agents(nil), nil
}

func (a *api) fenceAgent(ctx context.Context, _ caller, r *http.Request) (any, error) {
	ctx, cancel := context.WithTimeout(ctx, describeWait)
	defer cancel()
	d, err := fence.Describe(ctx, nil, r.PathValue("name"))
	if err != nil {
		return nil, &problem{http.StatusNotFound, err.Error(), "masthead fence agents"}
	}
	agent := wire.FenceAgent{Name: d.Name, Path: d.Path, Summary: d.Summary, Text: d.Text, Actions: d.Actions, Unfit: d.Unfit}
	for _, p := range d.Params {
		agent.Params = append(agent.Params, wire.FenceParam(p))
	}
	return agent, nil
}
