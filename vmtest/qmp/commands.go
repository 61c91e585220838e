package qmp

import "context"

// Pause stops the virtual processors; the machine's time stands still.
func (c *Client) Pause(ctx context.Context) error { return c.Execute(ctx, "stop", nil, nil) }

// Resume lets them go on.
func (c *Client) Resume(ctx context.Context) error { return c.Execute(ctx, "cont", nil, nil) }

// Reset presses the reset button.
func (c *Client) Reset(ctx context.Context) error { return c.Execute(ctx, "system_reset", nil, nil) }

// PowerButton presses the power button, for the guest to shut down by itself (ACPI).
func (c *Client) PowerButton(ctx context.Context) error {
	return c.Execute(ctx, "system_powerdown", nil, nil)
}

// Interrupt sends a non-maskable interrupt to all processors.
func (c *Client) Interrupt(ctx context.Context) error { return c.Execute(ctx, "inject-nmi", nil, nil) }

// Quit ends QEMU at once, without a word to the guest.
func (c *Client) Quit(ctx context.Context) error { return c.Execute(ctx, "quit", nil, nil) }

// Status returns QEMU's RunState: running, paused, shutdown, internal-error and others.
func (c *Client) Status(ctx context.Context) (string, error) {
	var status struct {
		Status string `json:"status"`
	}
	err := c.Execute(ctx, "query-status", nil, &status)
	return status.Status, err
}
