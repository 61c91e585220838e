// Command tftpd serves the files of /tftp to boot ROMs, in a guest of this
// package's tests: Debian's busybox has no TFTP server.
package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/pin/tftp/v3"
)

func main() {
	serve := func(name string, to io.ReaderFrom) error {
		file, err := os.Open(filepath.Join("/tftp", filepath.Base(name)))
		if err != nil {
			return err
		}
		defer file.Close()
		_, err = to.ReadFrom(file)
		return err
	}
	if err := tftp.NewServer(serve, nil).ListenAndServe(":69"); err != nil {
		fmt.Fprintln(os.Stderr, "tftpd:", err)
		os.Exit(1)
	}
}
