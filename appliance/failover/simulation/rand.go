package simulation

import "time"

// source is a small generator of random numbers (splitmix64; Steele, Lea, Flood 2014): a run makes a hundred thousand of
// them, and each world has its own.
type source struct{ state uint64 }

func (s *source) next() uint64 {
	s.state += 0x9e3779b97f4a7c15
	z := s.state
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

// below is a number from 0 to n-1.
func (s *source) below(n int) int { return int((s.next() >> 32) * uint64(n) >> 32) }

// chance is true in percent of 100 cases.
func (s *source) chance(percent int) bool { return s.below(100) < percent }

// between is a time from a to b.
func (s *source) between(a, b time.Duration) time.Duration {
	if b <= a {
		return a
	}
	return a + time.Duration(s.next()%uint64(b-a))
}

// scale is a time from a to b, each power of two as likely as the next.
func (s *source) scale(a, b time.Duration) time.Duration {
	steps := 0
	for x := a; x < b; x *= 2 {
		steps++
	}
	from := a << s.below(max(steps, 1))
	return min(s.between(from, 2*from), b)
}
