package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/spf13/pflag"

	"masthead/appliance"
	"masthead/images"
	"masthead/node/wire"
)

// remote says which head a command talks to. On a head nothing need be said: root reaches it by its socket.
type remote struct {
	head      string
	ca        string
	tokenFile string
	lab       string
	there     string // what to type for the same on a head, where the command acts on its own machine
}

func (r *remote) flags(f *pflag.FlagSet) {
	f.StringVar(&r.head, "head", os.Getenv("MASTHEAD_HEAD"), "URL of the head to talk to, or URL,URL: the first that answers (default: this machine's)")
	f.StringVar(&r.ca, "ca", os.Getenv("MASTHEAD_CA"), "digest of the cluster's CA, as 'masthead status' on a head shows it")
	f.StringVar(&r.tokenFile, "token-file", os.Getenv("MASTHEAD_TOKEN_FILE"), "file with the administrator's token")
	f.StringVar(&r.lab, "lab", os.Getenv("MASTHEAD_LAB"), "name of a running lab whose head to talk to")
}

// client connects as the flags say.
func (r *remote) client() (*wire.Client, error) {
	if r.lab != "" {
		return r.labClient()
	}
	if r.head == "" {
		if _, err := os.Stat(images.APISocket); err != nil {
			if r.there != "" {
				return nil, &hint{errors.New("this machine is not a head"), r.there}
			}
			return nil, &hint{errors.New("this machine is not a head, and no other was named"),
				"masthead --head https://HEAD --ca sha256:… --token-file FILE …, or --lab NAME for a lab"}
		}
		return advised(wire.NewUnixClient(images.APISocket), "systemctl status masthead-head", ""), nil
	}
	ca, err := images.ParseDigest(r.ca)
	if err != nil {
		return nil, &hint{fmt.Errorf("--ca: %w", err), fmt.Sprintf("ssh root@%s masthead status, which says what to give as --ca", r.firstHost())}
	}
	token, err := readToken(r.tokenFile)
	if err != nil {
		return nil, err
	}
	host := r.firstHost()
	return advised(firstOf(strings.Split(r.head, ","), ca, token), "ssh root@"+host+" systemctl status masthead-head; or --head with another head",
		"ssh root@"+host+" masthead status, which says what to give as --ca"), nil
}

// firstHost is the host of the first URL that was named.
func (r *remote) firstHost() string {
	first, _, _ := strings.Cut(r.head, ",")
	u, err := url.Parse(strings.TrimSpace(first))
	if err != nil || u.Hostname() == "" {
		return "HEAD"
	}
	return u.Hostname()
}

const (
	// knock is how long a head may take to answer at all before the next of several is taken.
	knock = time.Second
	// patience is how long they may take if none answers so soon: they start, or their machines are busy.
	patience = 5 * time.Second
)

// firstOf is a client of the first head that answers; of the last one if none does, so that its error is told.
func firstOf(urls []string, ca images.Digest, token string) *wire.Client {
	return wire.NewClient(strings.TrimSpace(firstAnswering(urls, answers)), ca, token)
}

// firstAnswering is the first of several heads that answers soon, else the one that answers at all.
func firstAnswering(urls []string, answers func(context.Context, string) bool) string {
	last := urls[len(urls)-1]
	if len(urls) == 1 {
		return last
	}
	for _, u := range urls {
		ctx, cancel := context.WithTimeout(context.Background(), knock)
		ok := answers(ctx, u)
		cancel()
		if ok {
			return u
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	var asked sync.WaitGroup
	defer asked.Wait()
	defer cancel()
	found := make(chan string, len(urls))
	for _, u := range urls {
		asked.Go(func() { // ends with its answer, or with ctx
			if !answers(ctx, u) {
				u = ""
			}
			found <- u
		})
	}
	for range urls {
		if u := <-found; u != "" {
			return u
		}
	}
	return last
}

// answers reports whether a head answers before ctx ends.
func answers(ctx context.Context, base string) bool {
	u, err := url.Parse(strings.TrimSpace(base))
	if err != nil {
		return false
	}
	addr := u.Host
	if u.Port() == "" {
		addr = net.JoinHostPort(u.Hostname(), strconv.Itoa(wire.PortHTTPS))
	}
	_, err = wire.PresentedCA(ctx, addr)
	return err == nil
}

// labClient connects to the head of a lab by what 'lab up' left in its folder.
func (r *remote) labClient() (*wire.Client, error) {
	dir, err := labDir(r.lab)
	if err != nil {
		return nil, err
	}
	read := func(name string) string {
		data, e := os.ReadFile(filepath.Join(dir, name))
		if e != nil && err == nil {
			err = e
		}
		return strings.TrimSpace(string(data))
	}
	head, ca, token := read(labHeadFile), read(labCAFile), read(labTokenFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, &hint{fmt.Errorf("no lab named %s has a running head", r.lab), "masthead lab up"}
	}
	if err != nil {
		return nil, fmt.Errorf("lab %s: %w", r.lab, err)
	}
	status := "masthead --lab " + r.lab + " lab status"
	return advised(firstOf(strings.Fields(head), images.Digest(ca), token), status, status+"; a head whose disk is new has another CA"), nil
}

func readToken(file string) (string, error) {
	if file == "" {
		return "", &hint{errors.New("no administrator's token"), "--token-file FILE; the head keeps it in " + appliance.AdminTokenFile}
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return "", fmt.Errorf("read the token: %w", err)
	}
	return strings.TrimSpace(string(data)), nil
}
