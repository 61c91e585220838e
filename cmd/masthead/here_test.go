package main

import (
	"errors"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"masthead/images"
)

// TestCommandsOfThisMachineRefuseAHead walks all commands: those that act on the machine where they are typed refuse a head
// or lab that is named for them, and say how they reach one.
func TestCommandsOfThisMachineRefuseAHead(t *testing.T) {
	for _, c := range everyCommand() {
		if c.HasSubCommands() {
			continue
		}
		here := isHere(c)
		// file add takes a file of this machine, for any cluster.
		if strings.Contains(c.Short, "this machine") && !here && c.CommandPath() != "masthead file add" {
			t.Errorf("%s is of this machine, and is not marked", c.CommandPath())
		}
		for _, flag := range []string{"--head=https://10.0.0.1", "--lab=demo"} {
			r := remote{head: "https://10.0.0.1"}
			if err := c.ParseFlags([]string{flag}); err != nil {
				t.Fatal(err)
			}
			err := r.stayHere(c, []string{"a b"})
			var usage usageError
			if got := errors.As(err, &usage); got != here {
				t.Errorf("%s %s: %v, want it refused: %t", c.CommandPath(), flag, err, here)
			}
			if want := "ssh root@10.0.0.1 " + c.CommandPath() + " 'a b'"; here && tryText(err) != want {
				t.Errorf("%s %s: try: %s, want %s", c.CommandPath(), flag, tryText(err), want)
			}
		}
	}
}

// TestHere: which commands act on the machine where they are typed.
func TestHere(t *testing.T) {
	var got []string
	for _, c := range everyCommand() {
		if isHere(c) && !hidden(c) {
			got = append(got, strings.TrimPrefix(c.CommandPath(), "masthead "))
		}
	}
	slices.Sort(got)
	want := []string{"head run", "image capture", "install", "master-maker", "owner run", "reboot", "serial list", "serial test",
		"slot list", "slot rollback", "upgrade"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func hidden(c *cobra.Command) bool {
	for ; c != nil; c = c.Parent() {
		if c.Hidden {
			return true
		}
	}
	return false
}

func TestHereOnTheCommandLine(t *testing.T) {
	if _, err := os.Stat(images.APISocket); err == nil {
		t.Skip("this machine is a head")
	}
	t.Setenv("MASTHEAD_HEAD", "https://10.0.0.7")
	tests := []struct {
		args []string
		code int
		want []string
	}{
		{[]string{"--lab", "deb", "serial", "list"}, exitUsage,
			[]string{"masthead serial list acts on the machine where it is typed: --lab", "try: ssh root@10.0.0.7 masthead serial list\n"}},
		{[]string{"upgrade", "x.iso", "--dry-run", "--deadline", "5m", "--head", "https://head2"}, exitUsage,
			[]string{"--head has no meaning", "try: ssh root@head2 masthead upgrade --deadline 5m0s --dry-run x.iso\n"}},
		{[]string{"upgrade", "x.iso", "--all"}, exitFailed, []string{"this machine is not a head", "try: ssh root@10.0.0.7 masthead upgrade --all x.iso\n"}},
		{[]string{"image", "capture", "--keep", "/a", "--keep", "/b"}, exitFailed,
			[]string{"this machine is not a head", "try: ssh root@10.0.0.7 masthead image capture --keep /a --keep /b\n"}},
		{[]string{"serial", "--lab", "deb"}, 0, nil}, // a group alone shows its help
	}
	for _, tt := range tests {
		_, stderr, code := invoke(t, tt.args...)
		if code != tt.code {
			t.Errorf("%v: exit code %d, want %d\n%s", tt.args, code, tt.code, stderr)
		}
		for _, want := range tt.want {
			if !strings.Contains(stderr, want) {
				t.Errorf("%v: does not say %q:\n%s", tt.args, want, stderr)
			}
		}
	}
}
