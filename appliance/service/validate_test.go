package service

import (
	"errors"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"gopkg.in/yaml.v3"
)

func TestValidate(t *testing.T) {
	script := []Resource{{Script: &Script{File: "/etc/init.d/httpd"}}}
	second := []Resource{{Script: &Script{File: "/etc/init.d/mysqld"}}}
	address := IP{Address: netip.MustParsePrefix("10.1.4.150/24")}
	tests := []struct {
		name     string
		services []Service
		domains  []Domain
		want     []string
	}{
		{name: "nothing"},
		{name: "right", services: []Service{{Name: "web", Domain: "d", Resources: script}}, domains: []Domain{{Name: "d", Heads: []string{"head1"}}}},
		{
			name:     "cycle",
			services: []Service{{Name: "web", After: []string{"db"}, Resources: script}, {Name: "db", After: []string{"web"}, Resources: second}},
			want:     []string{`service web: after "db": each waits for the next: web → db → web`},
		},
		{name: "itself", services: []Service{{Name: "web", After: []string{"web"}, Resources: script}}, want: []string{`service web: after "web": each waits for the next: web → web`}},
		{name: "twice", services: []Service{{Name: "web", Resources: script}, {Name: "web", Resources: second}}, want: []string{`service name "web": is there twice`}},
		{
			name:     "one resource in two services",
			services: []Service{{Name: "a", Resources: []Resource{{IP: &address}}}, {Name: "b", Resources: []Resource{{IP: &address}}}},
			want:     []string{`service b: resource 10.1.4.150: resource "10.1.4.150": is in service a already`},
		},
		{
			name:     "names that are nowhere",
			services: []Service{{Name: "web", Domain: "x", After: []string{"y"}, Recovery: "z", Resources: script}},
			want:     []string{`service web: domain "x": there is no such domain`, `service web: recovery "z": is none`, `service web: after "y": there is no such service`},
		},
		{name: "empty", services: []Service{{Name: "web"}}, want: []string{`service web: resources "": has none`}},
		{
			name: "resources",
			services: []Service{{Name: "web", Resources: []Resource{
				{}, {Unit: &Unit{Name: "--now"}}, {Script: &Script{}}, {Script: &Script{File: "httpd"}}, {OCF: &OCF{Agent: "IPaddr2"}},
				{Filesystem: &Filesystem{Device: "/dev/sda1", Path: "/"}}, {IP: &IP{}}, {Unit: &Unit{Name: "x"}, IP: &address},
			}}},
			want: []string{
				`service web: resource resource: kind "": needs exactly one of ip, unit, script, ocf, filesystem, data`,
				`service web: resource --now: unit.name "--now": is no name of a unit`,
				`service web: resource script: script "": needs a file, or a command to start`,
				`service web: resource httpd: script.file "httpd": is no absolute path`,
				`service web: resource IPaddr2: ocf.agent "IPaddr2": is no agent`,
				`service web: resource /: filesystem.path "/": is no absolute path below the root`,
				`service web: resource /: filesystem.type "": is missing`,
				`service web: resource invalid IP: ip.address "": is missing, or has no prefix length`,
				`service web: resource 10.1.4.150: kind "": needs exactly one of ip, unit, script, ocf, filesystem, data`,
			},
		},
		{
			name:    "domains",
			domains: []Domain{{Name: "d", Heads: []string{"head9"}}, {Name: "d", Heads: []string{"head1"}}, {Name: "e"}},
			want:    []string{`domain d: heads "head9": is no head of this cluster`, `domain name "d": is there twice`, `domain e: heads "": has no heads`},
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var got []string
			if err := Validate(test.services, test.domains, []string{"head1", "head2"}); err != nil {
				for _, e := range err.(interface{ Unwrap() []error }).Unwrap() {
					got = append(got, e.Error())
					var bad *Invalid
					if !errors.As(e, &bad) || bad.Try() == "" {
						t.Errorf("%v: says nothing to try", e)
					}
				}
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// TestYAML reads the examples of docs/services.md's kinds as an administrator writes them.
func TestYAML(t *testing.T) {
	const text = `
- name: VirtualHTTP
  domain: both
  after: [data]
  recovery: relocate
  restart_within: 5m
  resources:
    - ip: {address: 10.1.4.150/24, nic: eth0, monitor_link: true}
    - {script: {file: /etc/init.d/httpd}, start_timeout: 90s}
    - {name: db, ocf: {agent: "ocf:heartbeat:mysql", params: {binary: /usr/sbin/mysqld}, depth: 10}, interval: 20s}
    - filesystem: {device: /dev/drbd0, path: /srv, type: ext4, options: [noatime], fsck: true}
    - unit: {name: nginx}
`
	var services []Service
	d := yaml.NewDecoder(strings.NewReader(text))
	d.KnownFields(true)
	if err := d.Decode(&services); err != nil {
		t.Fatal(err)
	}
	var kinds, labels []string
	for _, r := range services[0].Resources {
		kinds, labels = append(kinds, r.Kind()), append(labels, r.Label())
	}
	if diff := cmp.Diff([]string{"ip", "script", "ocf", "filesystem", "unit"}, kinds); diff != "" {
		t.Errorf("kinds (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"10.1.4.150", "httpd", "db", "/srv", "nginx"}, labels); diff != "" {
		t.Errorf("labels (-want +got):\n%s", diff)
	}
	if err := Validate(services, []Domain{{Name: "both", Heads: []string{"a"}}}, nil); err == nil || !strings.Contains(err.Error(), `after "data": there is no such service`) {
		t.Errorf("%v", err)
	}
}

func TestPrefer(t *testing.T) {
	heads := []string{"head1", "head2", "head3"}
	domains := []Domain{
		{Name: "ordered", Ordered: true, Heads: []string{"head3", "head1"}},
		{Name: "only2", Restricted: true, Heads: []string{"head2"}},
		{Name: "any", Heads: []string{"head1", "head2"}},
	}
	tests := []struct {
		domains []string
		want    []string
	}{
		{nil, heads},
		{[]string{"", "any"}, heads},
		{[]string{"ordered"}, []string{"head3", "head1", "head2"}},
		{[]string{"only2", "ordered"}, []string{"head2", "head3", "head1"}},
		{[]string{"nowhere"}, heads},
	}
	for _, test := range tests {
		var services []Service
		for _, d := range test.domains {
			services = append(services, Service{Domain: d})
		}
		if diff := cmp.Diff(test.want, Prefer(heads, services, domains)); diff != "" {
			t.Errorf("%v (-want +got):\n%s", test.domains, diff)
		}
	}
}
