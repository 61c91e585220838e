package service

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestAnswering(t *testing.T) {
	web := Service{Name: "web", Resources: []Resource{
		{IP: &IP{Address: netip.MustParsePrefix("10.0.0.1/24")}}, {Unit: &Unit{Name: "nginx.service"}}, {IP: &IP{Address: netip.MustParsePrefix("fd77::1/64")}},
	}}
	var p plan
	p.configure([]Service{web}, func(Service) (string, bool) { return "", true })
	four, six := &p.entries[0].parts[0], &p.entries[0].parts[2]
	for _, test := range []struct {
		four, six part
		want      []string
	}{
		{part{}, part{condition: stopped}, nil},
		{part{condition: unknown, ours: true}, part{condition: broken, ours: true}, []string{"10.0.0.1"}},
		{part{condition: running, ours: true}, part{condition: stuck, ours: true}, []string{"10.0.0.1"}},
		{part{condition: running, ours: true, busy: check}, part{condition: running, ours: true}, []string{"10.0.0.1", "fd77::1"}},
		{part{condition: stopped, busy: start, ours: true}, part{condition: broken, busy: stop, ours: true}, nil},
	} {
		*four, *six = test.four, test.six
		var got []string
		for _, a := range p.answering() {
			got = append(got, a.String())
		}
		if diff := cmp.Diff(test.want, got); diff != "" {
			t.Errorf("%+v %+v (-want +got):\n%s", test.four, test.six, diff)
		}
	}
}
