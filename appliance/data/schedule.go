package data

import "time"

// Schedule makes snapshots of a volume, and removes old ones.
type Schedule struct {
	Every string `yaml:"every" json:"every"` // 15m, 1h, 24h
	Keep  int    `yaml:"keep" json:"keep"`   // of these, the newest
}

func (s Schedule) problem() string {
	every, err := time.ParseDuration(s.Every)
	switch {
	case err != nil:
		return "want a time: 15m, 1h, 24h"
	case every < time.Minute:
		return "want a minute or more"
	case s.Keep < 1:
		return "keep: want 1 or more"
	}
	return ""
}
