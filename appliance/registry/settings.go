package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"masthead/appliance/state"
	"masthead/images"
	"masthead/node/wire"
)

// DefaultNamePattern gives n01, n02 and so on.
const DefaultNamePattern = "n%02d"

// Names of the settings in the state, each of which is one record there.
const (
	settingAutoApprove  = "auto-approve"
	settingNamePattern  = "name-pattern"
	settingDefaultImage = "default-image"
)

// SettingForwarders is the setting with the resolvers that heads ask, addresses with commas between them; empty: those of
// each head's own machine.
const SettingForwarders = "forwarders"

// maxForwarders is more than anybody can wait for: they are asked one after the other.
const maxForwarders = 8

var patternNumber = regexp.MustCompile(`%(?:0?([1-9]))?d`)

// nodeName gives the n-th name of a pattern.
func nodeName(pattern string, n int) string {
	return patternNumber.ReplaceAllStringFunc(pattern, func(verb string) string {
		width, _ := strconv.Atoi(strings.Trim(verb, "%d")) // none is 0
		return fmt.Sprintf("%0*d", width, n)
	})
}

func checkPattern(pattern string) error {
	if len(patternNumber.FindAllString(pattern, -1)) != 1 || images.ValidHost(nodeName(pattern, 99999)) != nil {
		return &Refusal{Kind: ErrInvalid, Field: settingNamePattern, Value: pattern, Reason: "want a host name with one number in it, such as n%02d"}
	}
	return nil
}

// Settings gives the present ones.
func (r *Registry) Settings() wire.Settings {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.settings.Settings
}

// ChangeSettings changes the settings that c names, all or none, or says what would change (DryRun). Changes of several
// administrators at once keep each other's, as each setting is by itself. It blocks until they are durable.
func (r *Registry) ChangeSettings(ctx context.Context, o state.Origin, c wire.SettingsChange) (wire.SettingsChanged, error) {
	if err := r.checkSettings(c); err != nil {
		return wire.SettingsChanged{}, err
	}
	if c.Forwarders != nil {
		tidy, err := r.parseForwarders(*c.Forwarders)
		if err != nil {
			return wire.SettingsChanged{}, err
		}
		c.Forwarders = &tidy
	}
	before := r.Settings()
	after := withSettings(before, c)
	changed := wire.SettingsChanged{Settings: after, Diff: diffSettings(before, after), Applied: !c.DryRun}
	if c.DryRun || len(changed.Diff) == 0 {
		return changed, nil
	}
	values := map[string]any{settingAutoApprove: after.AutoApprove, settingNamePattern: after.NamePattern, settingDefaultImage: after.DefaultImage,
		SettingForwarders: after.Forwarders}
	var ops []state.Op
	text := "settings:"
	for _, d := range changed.Diff {
		op, err := state.Put(state.KindSetting, d.Field, values[d.Field])
		if err != nil {
			return wire.SettingsChanged{}, err
		}
		ops = append(ops, op)
		text += fmt.Sprintf(" %s %q → %q,", d.Field, d.Old, d.New)
	}
	ack, err := r.conf.Store.Apply(ctx, o, ops...)
	if err != nil {
		return wire.SettingsChanged{}, fmt.Errorf("change settings: %w", err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, op := range ops {
		r.settings.take(state.Record{Key: op.Key, Value: op.Value, Version: ack.Version})
	}
	changed.Settings, changed.Degraded = r.settings.Settings, ack.Degraded
	r.event(wire.Event{Kind: "admin", Text: strings.TrimSuffix(text, ",") + " (" + o.Who + ")"})
	return changed, nil
}

// checkSettings names everything that is wrong with a change.
func (r *Registry) checkSettings(c wire.SettingsChange) error {
	var errs []error
	if c.NamePattern != nil {
		errs = append(errs, checkPattern(*c.NamePattern))
	}
	if c.DefaultImage != nil && *c.DefaultImage != "" && r.conf.Image != nil {
		if _, err := r.conf.Image(*c.DefaultImage); err != nil {
			errs = append(errs, &Refusal{Kind: ErrInvalid, Field: settingDefaultImage, Value: *c.DefaultImage, Reason: imageReason(err), Fix: "masthead image list"})
		}
	}
	if c.Forwarders != nil {
		_, err := r.parseForwarders(*c.Forwarders)
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// parseForwarders gives the list in the one way in which it is written. A head is no forwarder of heads: they would ask
// each other for ever.
func (r *Registry) parseForwarders(list string) (string, error) {
	refuse := func(reason, fix string) (string, error) {
		return "", &Refusal{Kind: ErrInvalid, Field: SettingForwarders, Value: list, Reason: reason, Fix: fix}
	}
	var all []string
	for _, text := range strings.FieldsFunc(list, func(c rune) bool { return c == ',' || c == ' ' }) {
		a, err := netip.ParseAddr(text)
		if a = a.Unmap(); err != nil || a.IsUnspecified() || a.IsMulticast() || a.Zone() != "" {
			return refuse(text+" is not the address of a resolver: want addresses with commas between them, such as 192.0.2.53,192.0.2.54", "")
		}
		if r.conf.Taken != nil {
			if head, ok := r.conf.Taken(a); ok {
				return refuse(text+" is head "+head+", and heads do not ask each other", "masthead head list")
			}
		}
		if !slices.Contains(all, a.String()) {
			all = append(all, a.String())
		}
	}
	if len(all) > maxForwarders {
		return refuse(fmt.Sprintf("at most %d", maxForwarders), "")
	}
	return strings.Join(all, ","), nil
}

// withSettings gives the settings after a change that was found valid.
func withSettings(s wire.Settings, c wire.SettingsChange) wire.Settings {
	if c.AutoApprove != nil {
		s.AutoApprove = *c.AutoApprove
	}
	if c.NamePattern != nil {
		s.NamePattern = *c.NamePattern
	}
	if c.DefaultImage != nil {
		s.DefaultImage = *c.DefaultImage
	}
	if c.Forwarders != nil {
		s.Forwarders = *c.Forwarders
	}
	return s
}

// diffSettings lists the settings that differ, by their names in the state.
func diffSettings(before, after wire.Settings) []wire.Difference {
	diff := []wire.Difference{} // an empty list in JSON, not null
	a, b := settingFields(before), settingFields(after)
	for i := range a {
		if a[i].value != b[i].value {
			diff = append(diff, wire.Difference{Field: a[i].name, Old: a[i].value, New: b[i].value})
		}
	}
	return diff
}

func settingFields(s wire.Settings) []field {
	return []field{
		{settingAutoApprove, strconv.FormatBool(s.AutoApprove)}, {settingNamePattern, s.NamePattern}, {settingDefaultImage, s.DefaultImage},
		{SettingForwarders, s.Forwarders},
	}
}

// settingsBook is the settings in memory, with the versions of their records: the state's own word of a change may come
// after that of a newer one.
type settingsBook struct {
	wire.Settings
	versions map[string]state.Version
}

func newSettingsBook() settingsBook {
	return settingsBook{wire.Settings{NamePattern: DefaultNamePattern}, map[string]state.Version{}}
}

// take enters one record of the state. Settings of other packages, and values of a later version, are left alone.
func (s *settingsBook) take(rec state.Record) {
	if s.versions[rec.Key.Name].Compare(rec.Version) > 0 {
		return
	}
	s.versions[rec.Key.Name] = rec.Version
	into := func(v any) {
		if !rec.Deleted {
			json.Unmarshal(rec.Value, v) // a value of another type leaves the default
		}
	}
	switch rec.Key.Name {
	case settingAutoApprove:
		into(&s.AutoApprove)
	case settingNamePattern:
		var pattern string
		if into(&pattern); checkPattern(pattern) == nil {
			s.NamePattern = pattern
		}
	case settingDefaultImage:
		into(&s.DefaultImage)
	case SettingForwarders:
		s.Forwarders = "" // after a deletion the heads ask their own machines' again
		into(&s.Forwarders)
	}
}
