package configuration

import (
	"reflect"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestMerge(t *testing.T) {
	const imported = `name: VMCluster
vips: [{address: 10.1.4.150/24}]
heads:
  vapp1: {fence: [[{device: esx}]]}
fence_devices:
  - {name: esx, agent: manual}
services:
  - {name: web, resources: [{name: site, ip: {address: 10.1.4.151/24}}]}
`
	for _, test := range []struct {
		name, text, want string
		left             []string
	}{
		{"comments alone", "# to begin with\n", "", nil},
		{"empty", "", "", nil},
		{"beside what is there", `# ours
name: ours # not theirs
vips: [{address: 10.1.4.149/24}]
services:
  # the old one
  - name: db
    resources: [{name: d, unit: {name: mariadb}}]
`, `# ours
name: ours # not theirs
vips:
  - {address: 10.1.4.149/24}
  - address: 10.1.4.150/24
services:
  # the old one
  - name: db
    resources: [{name: d, unit: {name: mariadb}}]
  - name: web
    resources:
      - name: site
        ip:
          address: 10.1.4.151/24
heads:
  vapp1:
    fence:
      - - device: esx
fence_devices:
  - name: esx
    agent: manual
`, []string{"name"}},
		{"what differs stays", `name: VMCluster
heads:
  vapp1: {fence: [[{device: other}]]}
fence_devices:
  - {name: other, agent: manual}
services:
  - {name: web, resources: [{name: httpd, unit: {name: apache2}}]}
`, `name: VMCluster
heads:
  vapp1: {fence: [[{device: other}]]}
fence_devices:
  - {name: other, agent: manual}
  - name: esx
    agent: manual
services:
  - {name: web, resources: [{name: httpd, unit: {name: apache2}}]}
vips:
  - address: 10.1.4.150/24
`, []string{"heads.vapp1.fence", "services[web]"}},
	} {
		add, err := Parse("imported", []byte(imported))
		if err != nil {
			t.Fatal(err)
		}
		got, left, err := Merge([]byte(test.text), add)
		if err != nil {
			t.Errorf("%s: %v", test.name, err)
			continue
		}
		if diff := cmp.Diff(test.left, left); diff != "" {
			t.Errorf("%s: left: %s", test.name, diff)
		}
		if test.want != "" {
			if diff := cmp.Diff(test.want, string(got)); diff != "" {
				t.Errorf("%s: %s", test.name, diff)
			}
		}
		doc, err := Parse("merged", got)
		if err != nil {
			t.Errorf("%s: %v\n%s", test.name, err, got)
		}
		if test.want == "" {
			if !reflect.DeepEqual(add, doc) {
				t.Errorf("%s: %+v, want %+v", test.name, doc, add)
			}
		}
		again, left2, err := Merge(got, add)
		if err != nil || string(again) != string(got) || len(left2) != len(test.left) {
			t.Errorf("%s: merged twice: %v, %v\n%s", test.name, left2, err, cmp.Diff(string(got), string(again)))
		}
	}
}
