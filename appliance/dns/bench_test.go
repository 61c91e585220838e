package dns

import (
	"testing"

	miekg "github.com/miekg/dns"
)

// BenchmarkNode is one question for a node by UDP, there and back on loopback, with one client.
func BenchmarkNode(b *testing.B) {
	at := start(b, nil)
	conn, err := miekg.Dial("udp", at.String())
	if err != nil {
		b.Fatal(err)
	}
	defer conn.Close()
	client, m := new(miekg.Client), question("n01.cluster.")
	for b.Loop() {
		if _, _, err := client.ExchangeWithConn(m, conn); err != nil {
			b.Fatal(err)
		}
	}
}
