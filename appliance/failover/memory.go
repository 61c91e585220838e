package failover

// Memory is what Decide keeps from one call to the next. Its zero value is a daemon that has just started. It is comparable,
// and holds no pointers: a copy is a copy.
type Memory struct {
	Phase Phase
	Since Instant // when Phase was entered
	Epoch Epoch   // the epoch that this head claims or acts under; 0: none

	// Further fields belong to Decide alone.

	begun     bool
	restarted bool    // the daemon, not the machine: the record is of this boot
	started   Instant // of the first decision
	at        Instant // of the last decision
	linked    mark    // the own uplink is not down since then
	awake     Instant // decides since then without having stood still
	known     Epoch   // the highest epoch that anybody was heard to know
	tried     Epoch   // the highest that was asked for in vain: voters refuse it for good
	dropped   mark    // when a claim came to nothing last
	vacant    mark    // nobody owns, as far as one hears, and this head is not the first to claim
	stuck     mark    // something holds up a takeover
	refused   mark    // the voters refuse an epoch though nobody has the lease
	disk      mark    // the record could not be written
	foreign   mark    // a third machine answered for a VIP

	// Of the term of ownership.
	how      string  // why this head owns
	own      bool    // the lease is this head's own word: alone, one of a pair, or a person's
	resumed  bool    // goes on with the gate that an earlier run of the daemon has opened
	clear    bool    // who had the VIP has just given it up: it is not probed for
	word     bool    // a person promoted this head without the voters
	person   bool    // a person promoted this head
	forced   bool    // and accepts that its data are older
	lease    Instant // end of the lease
	lapsed   mark    // the own lease ended before it was renewed: the daemon has stood still
	settled  mark    // followed without interruption since then
	apart    mark    // not followed since then
	answered mark    // somebody answered for a VIP while this head made itself ready, the last time then
	rival    mark    // another head is heard to act since then
	frozen   mark    // writes to its data wait for a word that nobody gives
	cutOff   mark    // the own uplink is down, the other head's is not

	// Of the end of it.
	reason   string
	lost     bool // the right to act is gone: to be stopped until stopBy
	stopBy   Instant
	released Epoch // the last epoch that was given up in order
	target   int   // id of the head that is to take over; negative: none
	gaveUp   Instant
	switched bool // it is what the operator asked for
	reclaim  bool // the target did not take over

	dead    [MaxHeads]mark   // a person said that this head is off
	able    [MaxHeads]uint64 // the boot in which this head was heard to have data with which it may claim; 0: none
	fencing int              // id of the head that is being fenced; negative: none
	fenced  Instant          // when that was begun

	told told
}

// mark is a moment, or none.
type mark struct {
	on bool
	at Instant
}

// set marks now, if nothing is marked yet.
func (m *mark) set(now Instant) {
	if !m.on {
		*m = mark{on: true, at: now}
	}
}

func (m *mark) clear() { *m = mark{} }

// keep sets the mark while is, and clears it when not.
func (m *mark) keep(is bool, now Instant) {
	if is {
		m.set(now)
	} else {
		m.clear()
	}
}

// since reports whether the mark is at least that old.
func (m mark) since(now, age Instant) bool { return m.on && now-m.at >= age }
