// Package monitor watches services and tells people, or the owner daemon, when one fails: what mon(8) does, with its terms.
//
// A Monitor asks one question at an interval (is the port open, does the process run, what does a Nagios plugin say), and
// its Periods say who is told when. The alert `failover` asks for another owner. A monitor is up, down or unknown: what
// could not be asked (a plugin that hangs, a script that is missing) is unknown, and never moves the cluster.
//
// Here live the schedule, the state machine (State.Step, pure), the checks, the alerts and the Mailer, whose queue other
// mails of the owner daemon use too. What a failover does is not decided here.
package monitor
