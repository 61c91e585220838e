package witness

import "context"

// Serve runs a vote until ctx is done.
func Serve(ctx context.Context, c Config) error {
	s, err := New(c)
	if err != nil {
		return err
	}
	return s.Run(ctx)
}
