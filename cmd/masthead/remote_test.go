package main

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

func TestFirstAnswering(t *testing.T) {
	for _, tt := range []struct {
		name  string
		after map[string]time.Duration // that a head takes to answer; 0: never
		want  string
		limit time.Duration
	}{
		{"all answer", map[string]time.Duration{"a": 1, "b": 1}, "a", 0},
		{"the first is dead", map[string]time.Duration{"b": 1}, "b", knock},
		{"the first is busy, and the last starts", map[string]time.Duration{"a": 2 * time.Second}, "a", 2*knock + 2*time.Second},
		{"the last is busy", map[string]time.Duration{"b": 2 * time.Second}, "b", 2*knock + 2*time.Second},
		{"none answers", nil, "b", 2*knock + patience},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				began := time.Now()
				got := firstAnswering([]string{"a", "b"}, func(ctx context.Context, u string) bool {
					answer := make(<-chan time.Time)
					if d := tt.after[u]; d > 0 {
						answer = time.After(d)
					}
					select {
					case <-ctx.Done():
						return false
					case <-answer:
						return true
					}
				})
				if took := time.Since(began).Truncate(time.Millisecond); got != tt.want || took > tt.limit {
					t.Errorf("got %s after %v, want %s within %v", got, took, tt.want, tt.limit)
				}
			})
		})
	}
}
