package main

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"masthead/appliance"
	"masthead/images"
)

// joinWish takes over which cluster this machine shall join, if its owner has said so.
func joinWish(cfg *appliance.Config) {
	cfg.JoinToken, cfg.JoinAddress = credential(images.CredentialJoin), credential(images.CredentialJoinAt)
	_, err := os.Stat(filepath.Join(images.CredentialsDir, images.CredentialJoinAt))
	cfg.Join = cfg.JoinToken != "" || !errors.Is(err, fs.ErrNotExist)
}

// credential is a secret that the machine's owner has handed in; empty: none of that name.
func credential(name string) string {
	data, err := os.ReadFile(filepath.Join(images.CredentialsDir, name))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(data))
}
