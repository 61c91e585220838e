package nodeset

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func TestNames(t *testing.T) {
	for _, tc := range []struct{ in, want, err string }{
		{"n01", "n01", ""},
		{"n[01-03,33]", "n01 n02 n03 n33", ""},
		{"n[8-11]", "n8 n9 n10 n11", ""},
		{"n[08-11]", "n08 n09 n10 n11", ""},
		{"n[098-101]", "n098 n099 n100 n101", ""},
		{"n[0-10/5]", "n0 n5 n10", ""},
		{"r[1-2]n[1-2]-ib", "r1n1-ib r1n2-ib r2n1-ib r2n2-ib", ""},
		{"n[01-03],-n02,x, y", "n01 n03 x y", ""},
		{"n1,n1,n[1-1]", "n1", ""},
		{"n[3-1]", "", "backwards"},
		{"n[1-3/0]", "", "backwards"},
		{"n[1-", "", "[ without ]"},
		{"n1]", "", "] without ["},
		{"n[a-b]", "", "not a number"},
		{"n[]", "", "not a number"},
		{"n[1-999999999]", "", "more than"},
		{"n[1-1000]m[1-1000]", "", "more than"},
		{"n[00000000000000000000]", "", "not a number"},
		{"N01", "", "not a node name"},
		{"n/../x", "", "not a node name"},
		{"@rack", "", "only names"},
		{"", "", "empty"},
		{" , ", "", "empty"},
	} {
		got, err := Names(tc.in)
		if diff := cmp.Diff(strings.Fields(tc.want), got, cmp.Transformer("nil", func(s []string) []string { return append([]string{}, s...) })); diff != "" {
			t.Errorf("Names(%q): %s", tc.in, diff)
		}
		if (err == nil) != (tc.err == "") || (err != nil && !strings.Contains(err.Error(), tc.err)) {
			t.Errorf("Names(%q): %v, want %q", tc.in, err, tc.err)
		}
	}
}

func cluster() []Node {
	var nodes []Node
	for i := 1; i <= 6; i++ {
		image := "worker"
		if i > 4 {
			image = "gpu"
		}
		attrs := map[string]string{"image": image, "rack": fmt.Sprint(i % 2)}
		nodes = append(nodes, Node{
			Name: fmt.Sprintf("n%02d", i), Groups: []string{"rack" + fmt.Sprint(i%2)},
			Attr: func(k string) (string, bool) { v, ok := attrs[k]; return v, ok },
		})
	}
	return append(nodes, Node{Name: "login"})
}

func TestSelect(t *testing.T) {
	for _, tc := range []struct{ in, want, missing, err string }{
		{"n[01-02,05]", "n01 n02 n05", "", ""},
		{"@rack1", "n01 n03 n05", "", ""},
		{"@all", "n01 n02 n03 n04 n05 n06 login", "", ""},
		{"@nosuch", "", "", ""},
		{"image=gpu", "n05 n06", "", ""},
		{"image=", "", "", ""},
		{"-login", "n01 n02 n03 n04 n05 n06", "", ""},
		{"@rack1,-n03,login", "n01 n05 login", "", ""},
		{"-image=gpu,-~^l", "n01 n02 n03 n04", "", ""},
		{"~^n0[1,3]$", "n01 n03", "", ""},
		{"-@rack0,@all", "n01 n03 n05 login", "", ""},
		{"n01,n99,n99,n[98-99]", "n01", "n99 n98", ""},
		{"n01,-n99", "n01", "", ""},
		{"~(", "", "", "pattern"},
		{"@", "", "", "not a group"},
		{"=x", "", "", "not an attribute"},
		{"--n01", "", "", "not a node name"},
	} {
		s, err := Parse(tc.in)
		if (err == nil) != (tc.err == "") || (err != nil && !strings.Contains(err.Error(), tc.err)) {
			t.Errorf("Parse(%q): %v, want %q", tc.in, err, tc.err)
			continue
		}
		if err != nil {
			continue
		}
		names, missing := s.Select(cluster())
		if got := strings.Join(names, " "); got != tc.want {
			t.Errorf("%q selects %q, want %q", tc.in, got, tc.want)
		}
		if got := strings.Join(missing, " "); got != tc.missing {
			t.Errorf("%q misses %q, want %q", tc.in, got, tc.missing)
		}
	}
}

// Who is asked for in particular is not one of a group by chance.
func TestAsks(t *testing.T) {
	for text, want := range map[string]bool{
		"head1": true, "n01,head[1-2]": true, "role=head": true, "@rack1,role=head": true, "name=head1": true,
		"@all": false, "@heads": false, "~^head": false, "-n01": false, "role=worker": false, "head2": false, "@all,-head1": false, "zone=head": false,
	} {
		s, err := Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		if got := s.Asks("head1", "role", "head"); got != want {
			t.Errorf("%s asks for head1: %t, want %t", text, got, want)
		}
	}
}

func TestFold(t *testing.T) {
	for _, tc := range []struct{ in, want string }{
		{"n03 n01 n02", "n[01-03]"},
		{"n9 n10 n11", "n[9-11]"},
		{"n09 n10 n11 n100", "n[09-11,100]"},
		{"n1 n01 n2 n02", "n[1,01,2,02]"},
		{"n099 n100 n101", "n[099-101]"},
		{"login", "login"},
		{"login n01 login", "login,n01"},
		{"r1n1-ib r1n2-ib r2n1-ib", "r1n[1-2]-ib,r2n1-ib"},
		{"", ""},
	} {
		if got := Fold(strings.Fields(tc.in)); got != tc.want {
			t.Errorf("Fold(%s) = %s, want %s", tc.in, got, tc.want)
		}
	}
}

func TestFoldProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		names := rapid.SliceOfN(rapid.OneOf(
			rapid.StringMatching(`n[0-9]{1,3}`),
			rapid.StringMatching(`[a-c]{1,2}[0-9]{0,2}-?[a-c]`),
			rapid.StringMatching(`[0-9]{1,25}`),
		), 1, 30).Draw(t, "names")
		folded := Fold(names)
		got, err := Names(folded)
		if err != nil {
			t.Fatalf("%s: %v", folded, err)
		}
		want := slices.Clone(names)
		slices.SortFunc(want, Compare)
		slices.SortFunc(got, Compare)
		if diff := cmp.Diff(slices.Compact(want), got); diff != "" {
			t.Fatalf("%s: %s", folded, diff)
		}
	})
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"n[01-20,33]", "@g,-n07", "image=a,~n.*", "r[1-2]n[0-10/2]-x", "-~^[ab]$"} {
		f.Add(s)
	}
	nodes := cluster()
	f.Fuzz(func(t *testing.T, text string) {
		s, err := Parse(text)
		if err != nil {
			return
		}
		s.Select(nodes)
		names, err := Names(text)
		if err != nil || len(names) == 0 {
			return
		}
		again, err := Names(Fold(names))
		if err != nil || len(again) != len(names) {
			t.Fatalf("%q: %d names, folded %s: %d names, %v", text, len(names), Fold(names), len(again), err)
		}
	})
}

func BenchmarkSelect5000(b *testing.B) {
	var nodes []Node
	for i := range 5000 {
		nodes = append(nodes, Node{Name: fmt.Sprintf("n%04d", i)})
	}
	for b.Loop() {
		s, err := Parse("n[0000-4999],-n0007")
		if err != nil {
			b.Fatal(err)
		}
		names, _ := s.Select(nodes)
		if Fold(names) != "n[0000-0006,0008-4999]" {
			b.Fatal(Fold(names))
		}
	}
}
