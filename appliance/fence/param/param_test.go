package param

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var set = Set{
	{Name: "ip", Aliases: []string{"ipaddr"}, Required: true, Text: "address"},
	{Name: "plug", Aliases: []string{"port", "vmname"}},
	{Name: "ipport", Kind: Number, Default: "623"},
	{Name: "ssl", Kind: Flag, Default: "yes"},
	{Name: "delay", Kind: Duration},
}

func TestRead(t *testing.T) {
	for _, test := range []struct {
		given  map[string]string
		want   Values
		faults []string
	}{
		{map[string]string{"ip": "h"}, Values{"ip": "h", "ipport": "623", "ssl": "yes"}, nil},
		{map[string]string{"ipaddr": "h", "port": "3", "ssl": "0"}, Values{"ip": "h", "plug": "3", "ipport": "623", "ssl": "0"}, nil},
		{map[string]string{"ip": "h", "ipaddr": "h"}, Values{"ip": "h", "ipport": "623", "ssl": "yes"}, nil},
		{map[string]string{"ip": "h", "ipaddr": "k"}, nil, []string{"parameter ipaddr: is the same as ip, and both are given"}},
		{map[string]string{"ip": ""}, nil, []string{"parameter ip: is missing: address"}},
		{map[string]string{"ssl": "si", "ipport": "-1", "delay": "-2s", "x": "1"}, nil, []string{
			"parameter delay: must be a number of seconds", "parameter ipport: must be a number", "parameter ssl: must be yes or no",
			"parameter x: is not known; known are ip, plug, ipport, ssl, delay", "parameter ip: is missing: address",
		}},
		{map[string]string{"ip": "h\npassword=x"}, nil, []string{"parameter ip: the value has a line break in it"}},
		{map[string]string{"ip": "h", "a b": "1"}, nil, []string{`parameter "a b": a name has letters, digits, _ and -`}},
	} {
		got, err := set.Read(test.given)
		var faults []string
		if err != nil {
			faults = strings.Split(err.Error(), "\n")
		}
		if diff := cmp.Diff(test.faults, faults); diff != "" {
			t.Errorf("%v: faults (-want +got):\n%s", test.given, diff)
		}
		if diff := cmp.Diff(test.want, got); err == nil && diff != "" {
			t.Errorf("%v: values (-want +got):\n%s", test.given, diff)
		}
	}
}

// TestMerge: what a step says in old words replaces what its device says in new ones.
func TestMerge(t *testing.T) {
	got := set.Merge(map[string]string{"ip": "h", "plug": "1"}, map[string]string{"port": "2", "other": "x"})
	if diff := cmp.Diff(map[string]string{"ip": "h", "plug": "2", "other": "x"}, got); diff != "" {
		t.Errorf("merged (-want +got):\n%s", diff)
	}
}

func TestKinds(t *testing.T) {
	v := Values{"n": "7", "yes": "ON", "no": "0", "s": "5", "ms": "500ms"}
	if v.Number("n") != 7 || v.Number("none") != 0 || !v.Flag("yes") || v.Flag("no") || v.Flag("none") || v.Duration("s") != 5*time.Second || v.Duration("ms") != 500*time.Millisecond {
		t.Errorf("%v", v)
	}
}

func TestSecret(t *testing.T) {
	for name, want := range map[string]bool{
		"password": true, "passwd": true, "snmp_priv_passwd": true, "secret_key": true, "community": true, "apikey": true, "token": true,
		"access_key": true, "hexadecimal_kg": true, "PASSWORD": true,
		"password_script": false, "token_file": false, "ip": false, "plug": false, "username": false, "identity_file": false,
	} {
		if got := Secret(name); got != want {
			t.Errorf("%s: %v", name, got)
		}
	}
	got := Redact("login root:pa$$ at 10.0.0.1 failed: pa$$", map[string]string{"password": "pa$$", "username": "root", "token": ""})
	if want := "login root:*** at 10.0.0.1 failed: ***"; got != want {
		t.Errorf("%q", got)
	}
}
