package appliance

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"masthead/appliance/pki"
	"masthead/images"
	"masthead/node/wire"
)

// joinTimeout bounds the request to be taken in: the other head writes a few records and asks nobody.
const joinTimeout = 20 * time.Second

// givesUp lists what a head of its own has that it would not have after joining.
func (h *Head) givesUp() ([]string, error) {
	var own []string
	nodes, err := h.reg.List("", time.Now())
	if err != nil {
		return nil, err
	}
	for _, n := range nodes {
		if n.Name != h.cfg.Name {
			own = append(own, "node "+n.Name)
		}
	}
	stored, err := h.library.store.Tags()
	if err != nil {
		return nil, err
	}
	tags := map[string]bool{}
	for _, tag := range stored {
		tags[tag] = true
	}
	for tag, t := range h.imageTags() {
		v, ok := t.Now()
		tags[tag] = ok && !(h.library.pack != nil && h.library.pack.Tags()[tag] == v.Digest)
	}
	for _, tag := range slices.Sorted(maps.Keys(tags)) {
		if tags[tag] {
			own = append(own, "image "+tag)
		}
	}
	return own, nil
}

// join makes this head one of another cluster: up to the moment when that has taken it in and everything that makes this
// machine a head of it is on the disk. The rest happens after a restart of the head, by itself.
func (h *Head) join(ctx context.Context, s wire.JoinStart) (wire.Membership, error) {
	h.member.busy.Lock()
	defer h.member.busy.Unlock()
	token, err := pki.ParseJoinToken(s.Token)
	if err != nil {
		return wire.Membership{}, &problem{http.StatusBadRequest, err.Error(), tryToken}
	}
	now := h.membershipNow()
	phase := h.member.phase()
	if err := h.mayJoin(phase); err != nil {
		return now, err
	}
	urls, err := joinURLs(s.Address, token.URLs)
	if err != nil {
		return now, err
	}
	if phase != phaseRemoved {
		if now.GiveUp, err = h.givesUp(); err != nil {
			return now, err
		}
	}
	if len(now.GiveUp) > 0 && !s.Discard && !s.DryRun {
		return now, &problem{http.StatusConflict, "by joining this head gives up what it has of its own: " + listText(now.GiveUp),
			"masthead head join … --discard, which saves the state to a file first; or --dry-run"}
	}
	if now.Export, err = h.askToJoin(ctx, urls, token, s); err != nil || s.DryRun {
		return now, err
	}
	defer h.restart()
	now = h.membershipNow()
	return now, nil
}

// mayJoin refuses where a join would take something from a cluster that this head is a part of.
func (h *Head) mayJoin(p phase) error {
	switch {
	case p == phaseRemoved:
		return nil
	case p != phaseNone:
		return &problem{http.StatusConflict, "this head is in the middle of another change: " + string(p), "masthead head list"}
	case !h.solo():
		return &problem{http.StatusConflict, "this head is one of a cluster: " + strings.Join(h.headNames(), ", "), "masthead head leave"}
	case !h.cfg.Address.IsValid():
		return &problem{http.StatusConflict, "this head has no address on the cluster network", "masthead head run --interface NIC --address ADDRESS/PREFIX"}
	}
	return nil
}

// askToJoin asks the heads in turn to take this one in, and writes down what the first one that can answers. An answer
// that is a refusal ends it: another head of the same cluster would say the same.
func (h *Head) askToJoin(ctx context.Context, urls []string, token pki.JoinToken, s wire.JoinStart) (export string, err error) {
	dir := filepath.Join(h.cfg.StateDir, joiningDir)
	key, err := pki.OpenHeadKey(dir)
	if err != nil {
		return "", err
	}
	request, err := key.Request(h.cfg.Name)
	if err != nil {
		return "", err
	}
	own := h.ownRecord()
	req := wire.JoinRequest{
		Token: s.Token, Name: h.cfg.Name, Address: own.Address, HTTPS: own.HTTPS, Gossip: own.Gossip, Version: own.Version,
		Protocol: wire.HeadProtocol, Oldest: wire.OldestHeadProtocol, Request: request, Time: time.Now().UTC(), DryRun: s.DryRun,
	}
	ctx, cancel := context.WithTimeout(ctx, joinTimeout)
	defer cancel()
	var answer wire.JoinAnswer
	var failed []error
	for _, u := range urls {
		answer, err = askHead(ctx, u, token.CA, req)
		var p *wire.ProblemError
		if err == nil || errors.As(err, &p) && p.Status < http.StatusInternalServerError {
			failed = nil
			break
		}
		failed = append(failed, err)
	}
	if len(failed) > 0 {
		return "", &problem{http.StatusBadGateway, "no head of the cluster could be asked: " + errors.Join(failed...).Error(), "masthead head join ADDRESS --token-file FILE"}
	}
	if err != nil || s.DryRun {
		return "", passOn(err)
	}
	if export, err = h.saveExport("before-join"); err != nil {
		return "", err
	}
	return export, h.beAccepted(dir, token.CA, answer, export)
}

func askHead(ctx context.Context, base string, ca images.Digest, req wire.JoinRequest) (wire.JoinAnswer, error) {
	c := wire.NewClient(base, ca, "")
	defer c.Close()
	answer, err := c.AcceptHead(ctx, req)
	if errors.Is(err, wire.ErrNotPinned) {
		err = &wire.ProblemError{Method: http.MethodPost, URL: base, Problem: wire.Problem{Status: http.StatusConflict,
			Detail: fmt.Sprintf("%s is a head of another cluster than the one that made the token: its authority is not %s", base, ca.Short()),
			Try:    "masthead head token on that head"}}
	}
	return answer, err
}

// passOn gives another head's refusal as our own.
func passOn(err error) error {
	var p *wire.ProblemError
	if errors.As(err, &p) {
		return &problem{p.Status, p.Problem.Detail, p.Problem.Try}
	}
	return err
}

// beAccepted writes down what makes this machine a head of the other cluster. The phase comes last: before it there is
// nothing but a folder that nobody reads.
func (h *Head) beAccepted(dir string, ca images.Digest, answer wire.JoinAnswer, export string) error {
	authority, err := pki.WriteBundle(dir, answer.Files)
	if err != nil {
		return err
	}
	if authority.Digest() != ca {
		return &problem{http.StatusBadGateway, fmt.Sprintf("head %s has sent the keys of another cluster than its own", answer.By), ""}
	}
	if err := syncDir(h.cfg.StateDir); err != nil {
		return fmt.Errorf("keep the cluster's keys: %w", err)
	}
	return h.setPhase(memberFile{Phase: phaseAccepted, Since: time.Now().UTC(), Records: answer.Records, Export: export})
}

// joinURLs are the heads to ask: the one that a person named, else those of the token.
func joinURLs(address string, known []string) ([]string, error) {
	if address == "" {
		if len(known) == 0 {
			return nil, &problem{http.StatusBadRequest, "the token names no head, so the address of one is needed", "masthead head join ADDRESS --token-file FILE"}
		}
		return known, nil
	}
	bad := &problem{http.StatusBadRequest, fmt.Sprintf("%q is not the address of a head: want ADDRESS, ADDRESS:PORT or a https URL", address), ""}
	if strings.Contains(address, "://") {
		u, err := url.Parse(strings.TrimSuffix(address, "/"))
		if err != nil || u.Scheme != "https" || u.Host == "" || u.Path != "" {
			return nil, bad
		}
		return []string{u.Scheme + "://" + u.Host}, nil
	}
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		host, port = strings.Trim(address, "[]"), strconv.Itoa(wire.PortHTTPS)
	}
	if host == "" || strings.ContainsAny(host, "/ @?#") {
		return nil, bad
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return nil, bad
	}
	return []string{"https://" + net.JoinHostPort(host, port)}, nil
}

// listText names the first few of many.
func listText(all []string) string {
	const most = 12
	if len(all) <= most {
		return strings.Join(all, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(all[:most], ", "), len(all)-most)
}

// saveExport writes the whole state into a file of its own, readable and importable.
func (h *Head) saveExport(why string) (string, error) {
	dir := filepath.Join(h.cfg.StateDir, exportDir)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", fmt.Errorf("save the state: %w", err)
	}
	name := filepath.Join(dir, why+"-"+time.Now().UTC().Format("20060102T150405.000Z")+".json")
	if err := h.exportState(name); err != nil {
		return "", fmt.Errorf("save the state: %w", err)
	}
	return name, nil
}
