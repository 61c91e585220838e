package failover

// Memory is what Decide keeps from one call to the next. Its zero value is a daemon that has just started.
type Memory struct {
	Phase Phase
	Since Instant // when Phase was entered
	Epoch Epoch   // the epoch that this head claims or acts under; 0: none
	// Further fields belong to Decide alone.
}
