package appliance

import (
	"context"
	"errors"
	"fmt"
	"time"

	"masthead/appliance/monitor"
	"masthead/images/disk"
	"masthead/node/slot"
	"masthead/node/wire"
)

// slotMailRetry is the time between two attempts to send the mail about an upgrade that fell back: the mail server may
// have been away for the same reason.
const slotMailRetry = time.Minute

// runSlots tells of an upgrade that fell back: by an event, by mail, and in the status until another one goes well. On a
// machine that is not installed it has nothing to do.
func (h *Head) runSlots(ctx context.Context) error {
	m, err := slot.Find("/sys", "/proc", "/dev")
	if errors.Is(err, slot.ErrNotInstalled) || h.cfg.Software.Slot == "" {
		<-ctx.Done()
		return ctx.Err()
	}
	if err == nil {
		err = h.tellFallBack(m)
	}
	if err != nil {
		h.event("the slots of this head: "+err.Error(), true)
	}
	for {
		if err := h.mailFallBack(ctx); err != nil && ctx.Err() == nil {
			h.log.Warn("mail about an upgrade that fell back", "err", err)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(slotMailRetry):
		}
	}
}

// tellFallBack notes that GRUB has started the good slot again after the other one was tried.
func (h *Head) tellFallBack(m slot.Machine) error {
	e := m.Environment()
	env, err := e.Read()
	if err != nil || slot.Judge(env, m.Running) != slot.FellBack {
		return err
	}
	r, err := slot.ReadRecord(h.cfg.StateDir)
	if err != nil {
		return err
	}
	r, failed := slot.FellBackNow(r, env.Tried, time.Now().UTC())
	if err := r.Write(h.cfg.StateDir); err != nil {
		return err
	}
	h.event(failed.Text(m.Running), true)
	return e.Write(slot.Settle(env))
}

// mailFallBack sends the mail about the last upgrade that fell back, if nobody has got it yet.
func (h *Head) mailFallBack(ctx context.Context) error {
	r, err := slot.ReadRecord(h.cfg.StateDir)
	if err != nil || r.Failed == nil || r.Failed.Mailed {
		return err
	}
	_, doc, err := h.ownerConfig()
	if err != nil {
		return err
	}
	mailer, err := monitor.NewMailer(doc.Mail, h.cfg.Name, h.log)
	if err != nil {
		return err
	}
	err = mailer.Send(ctx, slotMail(h.cfg.Name, disk.Slot(h.cfg.Software.Slot), *r.Failed))
	if err != nil && !errors.Is(err, monitor.ErrNoServer) {
		return err
	}
	if errors.Is(err, monitor.ErrNoServer) {
		return nil // there may be one later
	}
	// Read again: the mail took its time.
	if r, err = slot.ReadRecord(h.cfg.StateDir); err != nil || r.Failed == nil {
		return err
	}
	r.Failed.Mailed = true
	return r.Write(h.cfg.StateDir)
}

// slotMail is what people read.
func slotMail(head string, running disk.Slot, f slot.Failure) monitor.Message {
	return monitor.Message{
		Key: "upgrade", Urgent: true, Time: f.At, Subject: head + ": an upgrade fell back",
		Text: fmt.Sprintf("%s: %s\n\nThe head runs from slot %s as before the upgrade.\nLook: masthead slot list\nAnother image: masthead upgrade ISO\n",
			head, f.Text(running), running),
	}
}

// slotTrouble is what the status says of the last upgrade.
func (h *Head) slotTrouble() []string {
	if h.cfg.Software.Slot == "" {
		return nil
	}
	r, err := slot.ReadRecord(h.cfg.StateDir)
	if err != nil {
		return []string{err.Error()}
	}
	if r.Failed == nil {
		return nil
	}
	return []string{r.Failed.Text(disk.Slot(h.cfg.Software.Slot)) + ": masthead slot list"}
}

// software is what a head tells the others that it runs.
func (c Config) software() wire.Software {
	s := c.Software
	s.Program = c.Version
	return s
}
