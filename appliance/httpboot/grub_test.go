package httpboot

import (
	"errors"
	"io"
	"net/netip"
	"os/exec"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"masthead/images"
	"masthead/vmtest/prerequisite"
)

// scriptCheck has GRUB's own program read a script.
func scriptCheck(t testing.TB, script string) {
	t.Helper()
	check := prerequisite.Program(t, "grub-script-check")
	cmd := exec.Command(check)
	cmd.Stdin = strings.NewReader(script)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s\n%s", err, out, script)
	}
}

func TestGRUBScript(t *testing.T) {
	m := someMachine()
	m.Others = []string{"http://10.77.0.2", "http://10.77.0.3:8080", "http://head.example"}
	m.Cmdline = `quiet note="two words" x=$y`
	got, err := grubScript(m, "console=ttyS0,115200")
	if err != nil {
		t.Fatal(err)
	}
	args, err := arguments(m, "console=ttyS0,115200")
	if err != nil {
		t.Fatal(err)
	}
	words, err := grubWords(args)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(words, "'console=ttyS0,115200' ") || !strings.HasSuffix(words, " 'quiet' 'note=two words' 'x=$y'") || strings.Contains(words, "initrd=") {
		t.Errorf("arguments are %s", words)
	}
	name := GRUBName(m.MAC)
	want := `if [ -z "$asked" ]; then set head=$root; fi
echo 'masthead: ` + m.Name + ` boots image ` + m.Tag + ` ` + m.Image.Short() + ` from '$head
if linux ($head)/boot/` + m.Image.Hex() + `/vmlinuz ` + words + `; then
  echo 'masthead: the kernel is here, loading the initramfs'
  if initrd ($head)/boot/` + m.Image.Hex() + `/initramfs; then
    boot
  fi
fi
echo 'masthead: ` + m.Name + ` could not be started'
echo 'masthead: on the head, type: masthead node why ` + m.Name + `'
if [ -z "$asked" ]; then
  set asked=1
  echo 'masthead: asking 10.77.0.2'
  set head=tftp,10.77.0.2
  source ($head)/` + name + `
  echo 'masthead: asking 10.77.0.3'
  set head=tftp,10.77.0.3
  source ($head)/` + name + `
fi
`
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Errorf("script (-want +got):\n%s", diff)
	}
	scriptCheck(t, string(got))
	scriptCheck(t, string(GRUBConfig()))
	scriptCheck(t, string(grubWait("52:54:00:00:00:01", &Notice{Reason: "it's not $approved; yet", Fix: "masthead node approve n01"})))
}

func TestGRUBScriptRefuses(t *testing.T) {
	for _, cmdline := range []string{`a='b'`, `a=\n`, `a="b`} { // the last is refused for iPXE too
		m := someMachine()
		m.Cmdline = cmdline
		if _, err := grubScript(m, ""); err == nil {
			t.Errorf("the arguments %s were taken", cmdline)
		}
	}
}

func TestGRUBNames(t *testing.T) {
	for name, want := range map[string]string{
		"grub/mac-52-54-00-12-34-5a.cfg": "52:54:00:12:34:5a",
		"grub/mac-52-54-00-12-34-5A.cfg": "", "grub/mac-52:54:00:12:34:5a.cfg": "", "grub/mac-52-54-00-12-34.cfg": "",
		"mac-52-54-00-12-34-5a.cfg": "", "grub/mac-52-54-00-12-34-5a": "", "grub/grub.cfg": "",
	} {
		got, ok := GRUBMachine(name)
		if got != want || ok != (want != "") {
			t.Errorf("GRUBMachine(%q) = %q, %v", name, got, ok)
		}
		if ok && GRUBName(got) != name {
			t.Errorf("GRUBName(%q) = %q", got, GRUBName(got))
		}
	}
	d := images.DigestOf([]byte("image"))
	for name, want := range map[string]string{
		"boot/" + d.Hex() + "/vmlinuz": "kernel", "boot/" + d.Hex() + "/initramfs": "initramfs",
		"boot/" + d.Hex() + "/pack": "", "boot/" + d.Hex(): "", d.Hex() + "/vmlinuz": "", "boot/short/vmlinuz": "",
	} {
		image, kernel, ok := GRUBFile(name)
		got := map[bool]string{true: "kernel", false: "initramfs"}[kernel]
		if !ok {
			got = ""
		}
		if got != want || (ok && image != d) {
			t.Errorf("GRUBFile(%q) = %s, %q", name, image, got)
		}
	}
}

// What comes by TFTP is what comes by HTTP, and a machine that has nothing to boot is told why.
func TestGRUBFromHandler(t *testing.T) {
	h := newHead(t)
	body, err := h.GRUB(t.Context(), Query{MAC: macA, Remote: netip.MustParseAddr("10.77.0.50"), Base: "http://10.77.0.1"})
	if err != nil || !strings.Contains(string(body), h.image.Hex()+"/vmlinuz") {
		t.Errorf("script: %v\n%s", err, body)
	}
	for kernel, want := range map[bool][]byte{true: h.kernel, false: h.initramfs} {
		f, err := h.Part(h.image, kernel)
		if err != nil {
			t.Fatal(err)
		}
		size, err := f.Seek(0, io.SeekEnd)
		if err != nil || size != int64(len(want)) {
			t.Errorf("size %d, %v, want %d", size, err, len(want))
		}
		if _, err := f.Seek(0, io.SeekStart); err != nil {
			t.Error(err)
		}
		got, err := io.ReadAll(f)
		if err != nil || string(got) != string(want) {
			t.Errorf("kernel %v: %d bytes, %v, want %d", kernel, len(got), err, len(want))
		}
		if _, err := f.Seek(0, io.SeekStart); err == nil {
			t.Error("it was read twice")
		}
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	}
	stranger := "52:54:00:aa:bb:99"
	body, err = h.GRUB(t.Context(), Query{MAC: stranger})
	want := "echo 'masthead: nothing to boot for " + stranger + ": unknown machine'\necho 'masthead: on the head, type: masthead node approve x'\n"
	var notice *Notice
	if !errors.As(err, &notice) || string(body) != want {
		t.Errorf("error %v, script\n%s", err, body)
	}
}

// FuzzGRUBNames: a name that means something has one form.
func FuzzGRUBNames(f *testing.F) {
	f.Add("grub/mac-52-54-00-12-34-5a.cfg")
	f.Add("boot/" + images.DigestOf([]byte("image")).Hex() + "/vmlinuz")
	f.Fuzz(func(t *testing.T, name string) {
		if mac, ok := GRUBMachine(name); ok && GRUBName(mac) != name {
			t.Errorf("%q is of %s, whose script is %q", name, mac, GRUBName(mac))
		}
		if d, kernel, ok := GRUBFile(name); ok {
			file := map[bool]string{true: nameKernel, false: nameInitramfs}[kernel]
			if want := grubBoot + d.Hex() + "/" + file; name != want {
				t.Errorf("%q means %q", name, want)
			}
		}
	})
}
