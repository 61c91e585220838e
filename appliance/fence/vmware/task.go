package vmware

import (
	"context"
	"fmt"
	"time"
)

// taskPoll is how often a task is asked whether it has ended. A power off takes a second or two.
const taskPoll = 200 * time.Millisecond

// wait waits until a task has ended; its failure is an error.
func (c *client) wait(ctx context.Context, task ref) error {
	for {
		p, err := c.properties(ctx, task, "info.state", "info.error")
		if err != nil {
			return err
		}
		switch state := p["info.state"].Text; state {
		case "success":
			return nil
		case "error":
			return p["info.error"].localized
		case "queued", "running":
		default:
			return fmt.Errorf("the task's state %.40q is not known", state)
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(taskPoll):
		}
	}
}
