package arbiter

import (
	"context"
	"log/slog"

	"github.com/hashicorp/go-hclog"
)

// raftLog hands what raft logs to log/slog. Raft reports each packet to a head that is off as an error; here it is a head
// that is off, which others report. So everything is one level lower.
type raftLog struct {
	hclog.Logger // does nothing: names and levels are not ours to keep
	log          *slog.Logger
}

func newRaftLog(log *slog.Logger) hclog.Logger { return &raftLog{hclog.NewNullLogger(), log} }

func (l *raftLog) Log(level hclog.Level, msg string, args ...any) {
	to := slog.LevelDebug
	switch level {
	case hclog.Error:
		to = slog.LevelWarn
	case hclog.Warn:
		to = slog.LevelInfo
	}
	l.log.Log(context.Background(), to, msg, args...)
}

func (l *raftLog) Trace(msg string, args ...any) { l.Log(hclog.Trace, msg, args...) }
func (l *raftLog) Debug(msg string, args ...any) { l.Log(hclog.Debug, msg, args...) }
func (l *raftLog) Info(msg string, args ...any)  { l.Log(hclog.Info, msg, args...) }
func (l *raftLog) Warn(msg string, args ...any)  { l.Log(hclog.Warn, msg, args...) }
func (l *raftLog) Error(msg string, args ...any) { l.Log(hclog.Error, msg, args...) }

func (l *raftLog) IsDebug() bool { return l.log.Enabled(context.Background(), slog.LevelDebug) }
func (l *raftLog) IsInfo() bool  { return l.IsDebug() }
func (l *raftLog) IsWarn() bool  { return l.log.Enabled(context.Background(), slog.LevelInfo) }
func (l *raftLog) IsError() bool { return l.log.Enabled(context.Background(), slog.LevelWarn) }

func (l *raftLog) With(args ...any) hclog.Logger  { return newRaftLog(l.log.With(args...)) }
func (l *raftLog) Named(string) hclog.Logger      { return l }
func (l *raftLog) ResetNamed(string) hclog.Logger { return l }
