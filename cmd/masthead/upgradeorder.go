package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"masthead/images"
	"masthead/node/wire"
)

// upgradeOrder is in which order heads are upgraded: the owner, which is self, comes last, when another one can take over.
// Pure.
func upgradeOrder(heads []wire.HeadStatus, owner string) (others []string, self string, err error) {
	for _, h := range heads {
		switch {
		case !h.Alive:
			return nil, "", &hint{fmt.Errorf("head %s does not answer, and all heads are to be upgraded", h.Name), "masthead head list"}
		case !h.Self && !h.Equal:
			return nil, "", &hint{fmt.Errorf("the state of head %s is not the same yet", h.Name), "masthead state verify"}
		case h.Software.Slot == "":
			return nil, "", &hint{fmt.Errorf("head %s does not run from an installed disk", h.Name), "masthead head list -l"}
		case h.Self:
			self = h.Name
		default:
			others = append(others, h.Name)
		}
	}
	if self == "" {
		return nil, "", errors.New("this head is none of the cluster")
	}
	if len(others) > 0 && owner != self {
		return nil, "", &hint{fmt.Errorf("%s owns the cluster, and is upgraded last", orElse(owner, "nobody")), "the same on " + orElse(owner, "the owner") + ", as root"}
	}
	slices.Sort(others)
	return others, self, nil
}

// stillToUpgrade leaves out the heads that run the image already: an upgrade of all that stopped half way is typed again.
// Pure.
func stillToUpgrade(heads []wire.HeadStatus, others []string, self string, image images.Digest, force bool) (left []string, here bool) {
	done := map[string]bool{}
	for _, h := range heads {
		done[h.Name] = h.Software.Image == string(image) && !force
	}
	for _, name := range others {
		if !done[name] {
			left = append(left, name)
		}
	}
	return left, !done[self]
}

// heir is the head that owns the cluster while the last one is upgraded; empty: there is no other. Pure.
func heir(heads []wire.HeadStatus, self string) string {
	first := ""
	for _, h := range heads {
		if h.Name != self && (first == "" || h.Name < first) {
			first = h.Name
		}
	}
	return first
}

// allSteps says what happens to which head, in order; to is who owns the cluster before self is upgraded, if anybody. Pure.
func allSteps(others []string, here bool, to, self string) string {
	steps := slices.Clone(others)
	if here && to != "" {
		steps = append(steps, to+" owns")
	}
	if here {
		steps = append(steps, self)
	}
	return strings.Join(steps, "; then ")
}

// upgraded judges the slots of a head that was told to try an image: done with no error is good. Pure.
func upgraded(rows []slotRow, image images.Digest) (done bool, err error) {
	for _, r := range rows {
		if r.Image != image {
			continue
		}
		switch words := strings.Split(r.State, ", "); {
		case slices.Contains(words, "runs") && slices.Contains(words, "starts"):
			return true, nil
		case strings.HasPrefix(r.Note, "did not come up healthy"), slices.Contains(words, "was tried and fell back"):
			return true, &hint{errors.New("the new image " + orElse(r.Note, "fell back")), "masthead slot list, on that head"}
		}
		return false, fmt.Errorf("slot %s: %s", r.Slot, r.State)
	}
	return false, errors.New("no slot has the new image")
}
