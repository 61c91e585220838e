package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"masthead/appliance/state"
)

// Settings are what the administrator decides for all nodes. Each field is one record of the state.
type Settings struct {
	AutoApprove  bool   `json:"auto_approve"`  // unknown machines become nodes by themselves
	NamePattern  string `json:"name_pattern"`  // of the names that they get: one %d, with a width if wanted
	DefaultImage string `json:"default_image"` // of nodes that name none
}

// DefaultNamePattern gives n01, n02 and so on.
const DefaultNamePattern = "n%02d"

// Names of the settings in the state.
const (
	settingAutoApprove  = "auto-approve"
	settingNamePattern  = "name-pattern"
	settingDefaultImage = "default-image"
)

var patternNumber = regexp.MustCompile(`%(?:0?([1-9]))?d`)

// nodeName gives the n-th name of a pattern.
func nodeName(pattern string, n int) string {
	return patternNumber.ReplaceAllStringFunc(pattern, func(verb string) string {
		width, _ := strconv.Atoi(strings.Trim(verb, "%d")) // none is 0
		return fmt.Sprintf("%0*d", width, n)
	})
}

func checkPattern(pattern string) error {
	if len(patternNumber.FindAllString(pattern, -1)) != 1 || !hostLabel.MatchString(nodeName(pattern, 99999)) {
		return &Refusal{Kind: ErrInvalid, Field: settingNamePattern, Value: pattern, Reason: "want a host name with one number in it, such as n%02d"}
	}
	return nil
}

// Settings gives the present ones.
func (r *Registry) Settings() Settings {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.settings
}

// SetSettings changes all settings to s, after a check.
func (r *Registry) SetSettings(ctx context.Context, o state.Origin, s Settings) error {
	err := checkPattern(s.NamePattern)
	if s.DefaultImage != "" && r.conf.Image != nil {
		if _, imageErr := r.conf.Image(s.DefaultImage); imageErr != nil {
			err = errors.Join(err, &Refusal{Kind: ErrInvalid, Field: settingDefaultImage, Value: s.DefaultImage, Reason: "no such image: " + imageErr.Error(), Fix: "masthead image list"})
		}
	}
	if err != nil {
		return err
	}
	var ops []state.Op
	for name, v := range map[string]any{settingAutoApprove: s.AutoApprove, settingNamePattern: s.NamePattern, settingDefaultImage: s.DefaultImage} {
		op, err := state.Put(state.KindSetting, name, v)
		if err != nil {
			return err
		}
		ops = append(ops, op)
	}
	if _, err := r.conf.Store.Apply(ctx, o, ops...); err != nil {
		return fmt.Errorf("change settings: %w", err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.settings = s
	return nil
}

// take enters one record of the state. Settings of other packages, and values of a later version, are left alone.
func (s *Settings) take(rec state.Record) {
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
	}
}
