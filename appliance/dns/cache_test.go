package dns

import (
	"fmt"
	"strings"
	"testing"
	"time"

	miekg "github.com/miekg/dns"
	"pgregory.net/rapid"
)

func TestLifetime(t *testing.T) {
	for _, tt := range []struct {
		name   string
		rcode  int
		change func(*miekg.Msg)
		answer []string
		want   time.Duration
	}{
		{"an address", 0, nil, []string{web}, 300 * time.Second},
		{"the shortest", 0, nil, []string{"www.example.com. 300 IN CNAME x.", "x. 7 IN A 192.0.2.1"}, 7 * time.Second},
		{"not to be kept", 0, nil, []string{"www.example.com. 0 IN A 192.0.2.1"}, 0},
		{"for ever", 0, nil, []string{"www.example.com. 2147483647 IN A 192.0.2.1"}, maxTTL},
		{"no such name", miekg.RcodeNameError, nil, []string{"ns example.com. 900 IN SOA a. b. 1 2 3 4 30"}, 30 * time.Second},
		{"no such name, short SOA", miekg.RcodeNameError, nil, []string{"ns example.com. 9 IN SOA a. b. 1 2 3 4 30"}, 9 * time.Second},
		{"alias to no such name", miekg.RcodeNameError, nil, []string{"www.example.com. 5 IN CNAME x.", "ns . 900 IN SOA a. b. 1 2 3 4 30"}, 5 * time.Second},
		{"nothing", 0, nil, []string{"ns example.com. 900 IN SOA a. b. 1 2 3 4 30"}, 30 * time.Second},
		{"no word how long", miekg.RcodeNameError, nil, nil, 0},
		{"a referral", 0, nil, []string{"ns example.com. 900 IN NS a."}, 0},
		{"a failure", miekg.RcodeServerFailure, nil, nil, failureTTL},
		{"cut", 0, func(m *miekg.Msg) { m.Truncated = true }, []string{web}, 0},
		{"too large", 0, func(m *miekg.Msg) {
			for range 200 {
				m.Answer = append(m.Answer, rr(t, "www.example.com. 300 IN TXT "+strings.Repeat("x", 200)))
			}
		}, nil, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := fixed(t, tt.rcode, tt.answer...)(question("www.example.com."), true)
			if tt.change != nil {
				tt.change(m)
			}
			if got := lifetime(m); got != tt.want {
				t.Errorf("got %v, want %v", got, tt.want)
			}
		})
	}
}

// TestCache keeps answers by random names for random times: never more than allowed, never one that is too old, and its
// TTL is what is left of it.
func TestCache(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const most = 8
		c := newCache(most)
		now := time.Unix(1e9, 0)
		put := map[string]time.Time{}
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			now = now.Add(time.Duration(rapid.IntRange(0, 20_000).Draw(t, "ms")) * time.Millisecond)
			name := fmt.Sprintf("n%d.example.com.", rapid.IntRange(0, 20).Draw(t, "name"))
			k := keyOf(question(name))
			if rapid.Bool().Draw(t, "put") {
				m := new(miekg.Msg).SetReply(question(name))
				m.Answer = []miekg.RR{&miekg.A{Hdr: header(name, miekg.TypeA, 60*time.Second)}}
				c.put(k, m, now)
				put[name] = now
			} else if m, ok := c.get(k, now); ok {
				age := now.Sub(put[name])
				if age >= 60*time.Second || m.Answer[0].Header().Ttl != 60-uint32(age/time.Second) || m.Question[0].Name != name {
					t.Fatalf("after %v: %v", age, m)
				}
				m.Answer[0].Header().Ttl = 9999 // a copy: nobody else sees it
			}
			if len(c.all) > most {
				t.Fatalf("%d answers, want at most %d", len(c.all), most)
			}
		}
	})
}
