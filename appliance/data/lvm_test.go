package data

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// What lvs and vgs of LVM 2.03 print, with warnings about them.
const (
	vgsReport = `  WARNING: This metadata update is NOT backed up.
  {
      "report": [
          {
              "vg": [
                  {"vg_name":"masthead-vdb", "vg_tags":"masthead,other"}
              ]
          }
      ]
  }
`
	lvsReport = `  {
      "report": [
          {
              "lv": [
                  {"lv_name":"data", "pool_lv":"thin.pool", "origin":"", "lv_tags":"back:33:20260102-150405-manual", "lv_size":"704643072", "data_percent":"12.50", "metadata_percent":"", "lv_active":"active", "lv_suspended":"", "thin_id":"1"},
                  {"lv_name":"data.20260102-150405-manual", "pool_lv":"thin.pool", "origin":"data", "lv_tags":"", "lv_size":"704643072", "data_percent":"", "metadata_percent":"", "lv_active":"", "lv_suspended":"", "thin_id":"2"},
                  {"lv_name":"thin.pool", "pool_lv":"", "origin":"", "lv_tags":"", "lv_size":"1006632960", "data_percent":"20.07", "metadata_percent":"11.13", "lv_active":"active", "lv_suspended":"suspended", "thin_id":""}
              ]
          }
      ]
  }
`
)

func TestParseReports(t *testing.T) {
	groups, err := parseGroups(vgsReport)
	if want := []Group{{Name: "masthead-vdb", Tags: []string{"masthead", "other"}}}; err != nil || !cmp.Equal(groups, want) {
		t.Errorf("groups %+v, %v, want %+v", groups, err, want)
	}
	volumes, err := parseLogicals(lvsReport)
	want := []Logical{
		{Name: "data", Pool: poolName, Tags: []string{"back:33:20260102-150405-manual"}, Size: 704643072, Used: 12.5, MetaUsed: -1, Active: true, ID: 1},
		{Name: "data.20260102-150405-manual", Pool: poolName, Origin: "data", Tags: []string{}, Size: 704643072, Used: -1, MetaUsed: -1, ID: 2},
		{Name: poolName, Tags: []string{}, Size: 1006632960, Used: 20.07, MetaUsed: 11.13, Active: true, Suspended: true},
	}
	if diff := cmp.Diff(want, volumes); err != nil || diff != "" {
		t.Errorf("volumes: %v (-want +got):\n%s", err, diff)
	}
	for name, out := range map[string]string{
		"nothing": "", "no JSON": "  Devices file is missing.\n", "half": lvsReport[:200], "no size": strings.ReplaceAll(lvsReport, `"lv_size":"704643072"`, `"lv_size":""`),
		"no name": strings.ReplaceAll(lvsReport, `"lv_name":"data"`, `"lv_name":""`), "numbers": `{"report":[{"lv":[{"lv_name":1}]}]}`,
	} {
		if got, err := parseLogicals(out); err == nil {
			t.Errorf("%s: got %+v", name, got)
		}
	}
	if none, err := parseGroups(`{"report":[{"vg":[]}]}`); err != nil || len(none) != 0 {
		t.Errorf("no group: %+v, %v", none, err)
	}
}

func FuzzReports(f *testing.F) {
	f.Add(vgsReport)
	f.Add(lvsReport)
	f.Fuzz(func(t *testing.T, out string) {
		groups, err := parseGroups(out)
		if err != nil && len(groups) > 0 {
			t.Errorf("groups %+v and %v", groups, err)
		}
		volumes, err := parseLogicals(out)
		if err != nil {
			return
		}
		g := Group{Name: "masthead-vdb", Tags: []string{groupTag}, Volumes: volumes}
		v := Volume{Name: "data", SnapshotsBy: LVM}
		if m := v.move("/dev/vdb", "masthead-vdb", false, &g); m.Kind == Make && (g.named("data") != nil || slices.ContainsFunc(g.Volumes, func(l Logical) bool { return v.owns(l.Name) })) {
			t.Errorf("makes anew what is there: %q", m.Argv)
		}
		if p := g.pool(); p.refuses(0) == "" && p.most() >= tightPool {
			t.Errorf("a snapshot in %+v", p)
		}
	})
}

func TestNames(t *testing.T) {
	for device, want := range map[string]string{
		"/dev/vdb": "masthead-vdb", DefaultDevice: "masthead-data",
		"/dev/disk/by-path/pci-0:1": "masthead-pci-0-1", "/dev/disk/by-id/ata-Samsung_SSD_860_EVO_1TB_S3Z9NB0K123456A": "masthead-ata-Samsung_SSD-7e3c9d5f",
	} {
		got := groupName(device)
		if len(got) > len(groupTag)+1+longestBase || strings.ContainsAny(got, ":/=@") {
			t.Errorf("%s: %s", device, got)
		}
		if len(device) < 40 && got != want {
			t.Errorf("%s: got %s, want %s", device, got, want)
		}
	}
	if groupName("/dev/disk/by-id/ata-Samsung_SSD_860_EVO_1TB_A") == groupName("/dev/disk/by-id/ata-Samsung_SSD_860_EVO_1TB_B") {
		t.Error("two devices, one group")
	}
	if got, want := mapped("masthead-vdb", poolName, "-tpool"), "masthead--vdb-thin.pool-tpool"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	v := Volume{Name: "data", Device: "/dev/vdb", Devices: map[string]string{"head2": "/dev/sdc"}}
	if v.lower("head1") != "/dev/vdb" {
		t.Errorf("without LVM: %s", v.lower("head1"))
	}
	v.SnapshotsBy = LVM
	if v.lower("head1") != "/dev/masthead-vdb/data" || v.lower("head2") != "/dev/masthead-sdc/data" {
		t.Errorf("with LVM: %s, %s", v.lower("head1"), v.lower("head2"))
	}
}

func TestParseExclusive(t *testing.T) {
	got := parseExclusive("    1        4194304\n    2              0\nDEV EXCLUSIVE\n 3 x\n")
	if want := map[int]int64{1: 4 << 20, 2: 0}; !cmp.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}
