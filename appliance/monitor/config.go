package monitor

import (
	"log/slog"
	"time"

	"masthead/appliance/failover"
)

const (
	// DefaultInterval is that of the howto's examples of mon.
	DefaultInterval = 10 * time.Second
	// DefaultTimeout is as long as TCP takes for three attempts (1, 3 s), and less than DefaultInterval.
	DefaultTimeout = 5 * time.Second
	// DefaultHold is how long a head that asked for a failover and no longer owns goes on counting as unhealthy: two heads
	// on which the same thing fails change the owner once in this time, not at each check.
	DefaultHold = 10 * time.Minute
	// UnknownAfter is the number of checks in a row that could not be done before people are told.
	UnknownAfter = 3
)

// Config is a set of monitors and what it needs from the owner daemon. None of its functions may block.
type Config struct {
	Monitors []Monitor
	// Alerts are the periods of monitors that have none of their own. None either: a mail to Mail's recipients when a
	// monitor goes down, and when it is up again.
	Alerts []Period
	// Mailer sends the mails; nil: mails are an event that says so.
	Mailer  *Mailer
	Cluster string        // for alerts
	Self    string        // name of this head
	Epoch   func() string // for alerts; nil: none
	Owner   func() bool   // this head is the owner, and its services are started
	Log     *slog.Logger  // nil: slog.Default
	// Event is told what a person should know. Nil: nobody.
	Event func(text string, bad bool)
	// Failover is called once for each alert `failover` that is due. Nil: it is an event only.
	Failover func(reason string)
	Hold     time.Duration // zero: DefaultHold
	Seed     uint64        // of the random skew: the same seed gives the same schedule
	// MonDir is where foreign monitors and alerts without a path are looked for, as mon does. Empty: in PATH only.
	MonDir []string
}

// Monitor is one question that is asked at an interval. Exactly one kind is set.
type Monitor struct {
	// Name is of letters, digits and ._:- ; in an imported mon.cf it is GROUP:SERVICE, as mon's dependencies write it.
	Name        string   `yaml:"name"`
	Description string   `yaml:"description,omitempty"`
	Hosts       []string `yaml:"hosts,omitempty"` // names or addresses; what fails on one has failed
	// AnyHost is enough: down only if all hosts fail.
	AnyHost bool `yaml:"any_host,omitempty"`
	On      On   `yaml:"on,omitempty"` // left out: owner

	Link    *Link    `yaml:"link,omitempty"`
	Ping    *Ping    `yaml:"ping,omitempty"`
	TCP     *TCP     `yaml:"tcp,omitempty"`
	HTTP    *HTTP    `yaml:"http,omitempty"`
	Process *Process `yaml:"process,omitempty"`
	Script  *Script  `yaml:"script,omitempty"`
	Plugin  *Plugin  `yaml:"plugin,omitempty"`

	Interval        time.Duration `yaml:"interval,omitempty"`         // left out: 10s
	FailureInterval time.Duration `yaml:"failure_interval,omitempty"` // while it fails; left out: as interval
	RandSkew        time.Duration `yaml:"randskew,omitempty"`         // the interval varies by as much, up and down
	Timeout         time.Duration `yaml:"timeout,omitempty"`          // of one check; left out: 5s, or the interval if that is less
	// StartDelay is from when this head becomes the one that checks to the first check. Left out: one interval, as in mon.
	StartDelay time.Duration     `yaml:"start_delay,omitempty"`
	Failures   int               `yaml:"failures,omitempty"` // in a row until it is down; left out: 1
	Depends    []string          `yaml:"depends,omitempty"`  // monitors whose failure explains this one's
	Exclude    string            `yaml:"exclude,omitempty"`  // not checked in this period of Time::Period
	Env        map[string]string `yaml:"env,omitempty"`      // for scripts, plugins and command alerts
	Periods    []Period          `yaml:"periods,omitempty"`
}

// On says which heads check.
type On string

const (
	OnOwner   On = "owner"
	OnStandby On = "standby"
	OnAll     On = "all"
)

// Link is up while a network card has a carrier.
type Link struct {
	NIC string `yaml:"nic"`
}

// Ping is up while a host answers ICMP echo requests.
type Ping struct {
	Count int `yaml:"count,omitempty"` // requests at most, of which one must be answered; left out: 3
}

// TCP is up while a port accepts connections. Without hosts it is this machine's.
type TCP struct {
	Port   uint16 `yaml:"port"`
	Send   string `yaml:"send,omitempty"`   // after connecting
	Expect string `yaml:"expect,omitempty"` // regular expression, for the first 4 KiB that are answered
}

// HTTP is up while a page answers. With hosts, each of them is asked for the page of the URL's host.
type HTTP struct {
	URL      string `yaml:"url"`
	Status   []int  `yaml:"status,omitempty"` // left out: 200 to 399; redirections are not followed
	Match    string `yaml:"match,omitempty"`  // regular expression, for the first MiB of the body
	Agent    string `yaml:"agent,omitempty"`
	Insecure bool   `yaml:"insecure,omitempty"` // accepts any certificate
}

// Process is up while a process runs here: that of a pid file, or one of a name.
type Process struct {
	Name    string `yaml:"name,omitempty"` // of the program, without its folder
	Pidfile string `yaml:"pidfile,omitempty"`
	Min     int    `yaml:"min,omitempty"` // with Name alone; left out: 1
	Max     int    `yaml:"max,omitempty"` // with Name alone; left out: any number
}

// Script is a program that exits with 0 for up and 1 for down; the first line that it prints is the summary. The hosts are
// appended to its arguments.
type Script struct {
	Command []string `yaml:"command"`
	NoHosts bool     `yaml:"no_hosts,omitempty"` // mon's ";;": the hosts are not appended
	// Mon: every status from 1 to 125 is down, as of mon's own monitors. Otherwise what is not 0 or 1 is unknown.
	Mon bool `yaml:"mon,omitempty"`
}

// Plugin is a program of the Nagios plugin interface: exits with 0 OK, 1 WARNING, 2 CRITICAL, 3 UNKNOWN, and prints one line
// whose part after | is for machines. With hosts it runs once for each, and $HOST in its arguments is replaced.
type Plugin struct {
	Command []string `yaml:"command"`
	// WarningDown takes WARNING for down. Otherwise it is up, with its text as detail.
	WarningDown bool `yaml:"warning_down,omitempty"`
}

// Period says who is told of failures at some times.
type Period struct {
	Name string `yaml:"name,omitempty"`
	// When is a period of the Perl module Time::Period, in the local time of the head: "wd {Mon-Fri} hr {9am-5pm}". Left out:
	// always.
	When     string  `yaml:"when,omitempty"`
	Alerts   []Alert `yaml:"alerts,omitempty"`
	UpAlerts []Alert `yaml:"upalerts,omitempty"` // when it is up again, if an alert was sent

	NumAlerts  int           `yaml:"numalerts,omitempty"`  // at most so many until it is up again; left out: at every failure
	AlertEvery time.Duration `yaml:"alertevery,omitempty"` // at least so long between two, unless the summary differs
	// Changes says what ends the wait of AlertEvery early: "summary" (left out; another summary, or that it was up between),
	// "detail" (the same, or another detail), "up" (only that it was up), "none" (nothing).
	Changes string `yaml:"changes,omitempty"`
	// AlertAfter failures in a row; with AlertAfterTime: so many within that time; AlertAfterTime alone: failing for longer.
	AlertAfter     int           `yaml:"alertafter,omitempty"`
	AlertAfterTime time.Duration `yaml:"alertafter_time,omitempty"`
	UpAlertAfter   time.Duration `yaml:"upalertafter,omitempty"`   // no upalert after shorter failures
	NoCompAlerts   bool          `yaml:"no_comp_alerts,omitempty"` // upalerts also where no alert was sent
}

// Alert is one way of telling. Exactly one of Mail, Webhook, Command and Failover is set.
type Alert struct {
	Mail     *MailAlert    `yaml:"mail,omitempty"`
	Webhook  *Webhook      `yaml:"webhook,omitempty"`
	Command  *CommandAlert `yaml:"command,omitempty"`
	Failover bool          `yaml:"failover,omitempty"` // asks for another owner
	// Exit limits the alert to these exit statuses of the check: "2" or "10-20".
	Exit string `yaml:"exit,omitempty"`
}

// MailAlert is a mail.
type MailAlert struct {
	To      []string `yaml:"to,omitempty"`      // left out: the recipients of the cluster's mail
	Subject string   `yaml:"subject,omitempty"` // instead of the summary
}

// Webhook is a JSON document (Notice) that is posted.
type Webhook struct {
	URL     string            `yaml:"url"`
	Headers map[string]string `yaml:"headers,omitempty"`
}

// CommandAlert is a program that is called as mon calls its alerts: arguments, MON_* in its environment, and on standard
// input the summary as first line, then the detail.
type CommandAlert struct {
	Command []string `yaml:"command"`
}

// Result is what one check found.
type Result struct {
	Reading failover.Reading
	Summary string // one line, the same as long as the same thing is wrong: no times, no counters
	Detail  string // further lines
	Code    int    // exit status of a script or plugin; else 0 up, 1 down, 3 unknown
}
