package netif

import (
	"fmt"
	"strings"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"masthead/images"
)

// Attempt is what was tried on one NIC.
type Attempt struct {
	Link      Link
	Discovers int    // DHCPDISCOVERs sent
	Offers    int    // acceptable ones
	Requests  int    // DHCPREQUESTs sent
	Refused   int    // DHCPNAKs
	Server    string // of the last offer
	Reply     string // the last thing that a server said and that did not help
	Err       error  // the last error of the kernel
}

func (a *Attempt) note(err error) { a.Err = err }

func (a *Attempt) declined(p *dhcpv4.DHCPv4, why error) {
	a.Reply = fmt.Sprintf("%s from %s declined: %v", p.MessageType(), sender(p), why)
}

func (a *Attempt) refused(p *dhcpv4.DHCPv4) {
	a.Refused++
	a.Reply = fmt.Sprintf("NAK from %s", sender(p))
	if m := oneLine(p.Message()); m != "" {
		a.Reply += fmt.Sprintf(" (%q)", m)
	}
}

func sender(p *dhcpv4.DHCPv4) string {
	if id := p.ServerIdentifier(); id != nil {
		return id.String()
	}
	return "an unnamed server"
}

func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return -1
		}
		return r
	}, s)
}

// String is one NIC's part of the error.
func (a Attempt) String() string {
	said := []string{a.Link.String()}
	if a.Discovers > 0 {
		said = append(said, fmt.Sprintf("%d DISCOVER sent", a.Discovers))
		switch {
		case a.Offers == 0 && a.Reply == "":
			said = append(said, "no answer")
		case a.Offers > 0:
			said = append(said, offers(a.Offers)+" from "+a.Server, fmt.Sprintf("%d REQUEST sent", a.Requests))
			if a.Reply == "" {
				said = append(said, "no answer to them")
			}
		}
		if a.Reply != "" {
			said = append(said, a.Reply)
		}
	}
	if a.Err != nil {
		said = append(said, a.Err.Error())
	}
	return strings.Join(said, ", ")
}

func offers(n int) string {
	if n == 1 {
		return "1 offer"
	}
	return fmt.Sprintf("%d offers", n)
}

// Failure is why a machine has no address.
type Failure struct {
	NIC      string // as it was asked for; empty: any
	Mode     images.IPMode
	Cause    Cause
	Waited   time.Duration
	Attempts []Attempt // the NICs that were candidates
	Others   []Link    // interfaces that were not
	Err      error     // of the kernel, or the end of the context
}

// Cause is the kind of a Failure.
type Cause string

// The causes, from the machine outwards.
const (
	NoNIC     Cause = "no NIC"      // none at all: a driver is missing
	NoSuchNIC Cause = "no such NIC" // there are some, but not the one that was named
	NoDHCP    Cause = "no DHCP on InfiniBand"
	NoCarrier Cause = "no carrier"
	NoOffer   Cause = "no offer"
	NoAck     Cause = "no lease after an offer"
	Refused   Cause = "refused"
	Kernel    Cause = "kernel" // it refused a call; Err says which
	Cancelled Cause = "cancelled"
)

// Error says which NIC, what was sent and what came back, on one line.
func (f *Failure) Error() string {
	var b strings.Builder
	waited := f.Waited.Round(100 * time.Millisecond)
	switch f.Cause {
	case NoNIC:
		fmt.Fprintf(&b, "no network interface in %v", waited)
	case NoSuchNIC:
		fmt.Fprintf(&b, "no network interface %s in %v", f.NIC, waited)
	case Kernel, Cancelled:
		fmt.Fprintf(&b, "network not up after %v: %v", waited, f.Err)
	default:
		fmt.Fprintf(&b, "no address in %v (%s)", waited, f.Cause)
	}
	for i, a := range f.Attempts {
		b.WriteString([]string{": ", "; "}[min(i, 1)] + a.String())
	}
	if len(f.Attempts) == 0 && len(f.Others) > 0 {
		names := make([]string, len(f.Others))
		for i, l := range f.Others {
			names[i] = l.String()
		}
		b.WriteString("; there are " + strings.Join(names, ", "))
	}
	return b.String()
}

// Unwrap gives the kernel's error, if that was the cause.
func (f *Failure) Unwrap() error { return f.Err }

// Try says what a person can do about it.
func (f *Failure) Try() string {
	const static = images.KeyIP + "=ADDRESS/PREFIX,GATEWAY on the kernel command line"
	switch f.Cause {
	case NoNIC:
		return "add the NIC's driver to the image (modules: in its definition); lspci -k on another system names it"
	case NoSuchNIC:
		return "correct or remove " + images.KeyNIC + "= on the kernel command line"
	case NoDHCP:
		return static
	case NoCarrier:
		return "check the cable and the switch port, or name another NIC by " + images.KeyNIC + "="
	case NoOffer:
		return "on the head: masthead status (does it serve DHCP in this network?); on the switch: edge port, VLAN, relay; or " + static
	case NoAck:
		return "on the head: masthead status; look for a second DHCP server in this network"
	case Refused:
		return "on the DHCP server: its leases and reservations for this MAC; look for a second DHCP server in this network"
	}
	return ""
}

// causeOf tells how far the attempts came.
func causeOf(attempts []Attempt) Cause {
	cause := NoCarrier
	for _, a := range attempts {
		switch {
		case a.Refused > 0:
			return Refused
		case a.Offers > 0:
			cause = NoAck
		case a.Discovers > 0 && cause != NoAck:
			cause = NoOffer
		}
	}
	return cause
}
