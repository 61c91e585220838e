package fence

import "context"

// driver is a device set up for one head. Its methods are called by one goroutine at a time, and end soon after ctx does.
type driver interface {
	// Off orders the machine off. nil: the device has taken the order, or the machine was off already. It proves nothing.
	Off(ctx context.Context) error
	// On is the status. An error is unknown, never off.
	On(ctx context.Context) (bool, error)
}

// finisher is a driver with something to do once its status has said off.
type finisher interface {
	Finish(ctx context.Context) error
}
