package appliance

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"strings"
	"testing"

	pin "github.com/pin/tftp/v3"

	"masthead/appliance/httpboot"
	"masthead/appliance/tftp"
	"masthead/images"
	"masthead/node/wire"
)

func TestWantsSigned(t *testing.T) {
	tests := []struct {
		secureBoot, stuck string
		want              bool
	}{
		{"", "", true},             // starts as well without
		{"", loaderShim, false},    // a firmware that shim or GRUB cannot work with
		{"", loaderUnsigned, true}, // refused it
		{wire.SecureBootOff, "", false},
		{wire.SecureBootOff, loaderUnsigned, true}, // switched on since
		{wire.SecureBootOff, loaderShim, false},    // in turns
		{wire.SecureBootOn, "", true},
		{wire.SecureBootOn, loaderShim, true}, // anything else it would refuse
		{wire.SecureBootOn, loaderUnsigned, true},
	}
	for _, tt := range tests {
		if got := wantsSigned(tt.secureBoot, tt.stuck); got != tt.want {
			t.Errorf("Secure Boot %q, stuck with %q: signed %v, want %v", tt.secureBoot, tt.stuck, got, tt.want)
		}
	}
}

func TestUEFILoadersAreRemembered(t *testing.T) {
	const mac = "52:54:00:00:00:01"
	var u uefiLoaders
	u.sent("", loaderShim) // nobody we can tell
	u.sent(mac, "grub/grub.cfg")
	if got := u.last(mac); got != "" {
		t.Errorf("stuck with %q before it had a loader", got)
	}
	u.sent(mac, "/"+loaderShim)
	u.sent(mac, loaderUnsigned)
	if got := u.last(mac); got != loaderUnsigned {
		t.Errorf("stuck with %q, want %q", got, loaderUnsigned)
	}
	u.progressed(mac)
	if got := u.last(mac); got != "" {
		t.Errorf("stuck with %q after it asked for its script", got)
	}
}

// A kernel goes out whole, with its size for who asks, as GRUB does.
func TestPartByTFTP(t *testing.T) {
	store, err := images.OpenStore(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	put := func(data string) images.Blob {
		b, err := store.PutBytes([]byte(data))
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	kernel := strings.Repeat("kernel", 5000)
	chunk := put("chunk")
	image, err := store.PutManifest(images.Manifest{
		Format: images.ManifestFormat, Name: "worker", Role: images.RoleWorker, Arch: "amd64", KernelRelease: "6.1",
		Kernel: put(kernel), Initramfs: put("initramfs"), Root: images.Root{Size: 4096, ChunkSize: 4096, Chunks: []images.Chunk{images.Chunk(chunk)}},
	})
	if err != nil {
		t.Fatal(err)
	}
	boot, err := httpboot.New(httpboot.Config{Blobs: store, Target: func(context.Context, httpboot.Query) (httpboot.Machine, error) {
		return httpboot.Machine{}, errors.New("not asked")
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer boot.Close()
	probe, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := probe.LocalAddr().String()
	probe.Close()
	s, err := tftp.New(tftp.Config{Addr: addr, Files: func(name string) (tftp.File, error) {
		d, kernel, ok := httpboot.GRUBFile(name)
		if !ok {
			return nil, fs.ErrNotExist
		}
		return boot.Part(d, kernel)
	}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	defer func() {
		cancel()
		<-done
	}()
	client, err := pin.NewClient(addr)
	if err != nil {
		t.Fatal(err)
	}
	client.RequestTSize(true)
	client.SetBlockSize(1024)
	from, err := client.Receive("/boot/"+image.Hex()+"/vmlinuz", "octet")
	if err != nil {
		t.Fatal(err)
	}
	if size, ok := from.(pin.IncomingTransfer).Size(); !ok || size != int64(len(kernel)) {
		t.Errorf("the size is said to be %d, want %d", size, len(kernel))
	}
	var got strings.Builder
	if _, err := from.WriteTo(&got); err != nil || got.String() != kernel {
		t.Errorf("got %d bytes, %v, want %d", got.Len(), err, len(kernel))
	}
}

func TestTFTPStages(t *testing.T) {
	dir := "boot/" + images.DigestOf([]byte("image")).Hex()
	for name, want := range map[string]wire.Stage{
		"shimx64.efi": wire.StageTFTP, "/grubx64.efi": wire.StageTFTP, "grub/grub.cfg": wire.StageTFTP,
		"/grub/mac-52-54-00-00-00-01.cfg": wire.StageScript, dir + "/vmlinuz": wire.StageKernel, "/" + dir + "/initramfs": wire.StageInitramfs,
	} {
		if got := tftpStage(name); got != want {
			t.Errorf("%s belongs to %s, want %s", name, got, want)
		}
	}
	for name, want := range map[string]bool{
		"/grub/x86_64-efi/command.lst": true, "revocations.efi": true, "//shim_certificate_0.efi": true,
		"grub/grub.cfg": false, "mmx64.efi": false, "shimx64.efi": false,
	} {
		if got := askedInVain(name); got != want {
			t.Errorf("askedInVain(%q) = %v", name, got)
		}
	}
}
