package outbox

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/clonecache/clonecache/plugin"
)

const (
	// keptDead is how many dead letters are kept.
	keptDead = 100
	// saveEvery is how often it is written down how far a sink has come.
	saveEvery = time.Second
)

// state is what a sink's file has.
type state struct {
	Position int64               `json:"position"`
	Dead     []plugin.DeadLetter `json:"dead"`
	DeadAll  int64               `json:"dead_letters"`
	gap
}

// sink is a Sink at work. Its goroutine alone writes; view reads.
type sink struct {
	Sink
	cfg  *Config
	file string
	log  logrus.FieldLogger

	fresh  bool       // there was no file: it begins with what happens from now on
	failed bool       // to write the file, last time, which was logged; savedOrSaid's
	saving sync.Mutex // held by who writes the file

	mu sync.Mutex // guards what follows
	state
	dirty          bool // the file does not say so yet
	sent, failures int64
	lastError      string
	waiting        time.Time // when the event happened that is being tried; zero: none is
}

// read reads the file, if there is one. One that says nothing is put aside: it keeps nobody from the cache, and the sink begins
// with what happens from now on.
func (s *sink) read() error {
	text, err := os.ReadFile(s.file)
	if errors.Is(err, fs.ErrNotExist) {
		s.fresh = true
		return nil
	}
	if err != nil {
		return err
	}
	if err := json.Unmarshal(text, &s.state); err != nil {
		aside := s.file + ".damaged"
		s.state, s.fresh = state{}, true
		s.log.WithError(err).WithField("put_aside", aside).Error("how far the sink had come is damaged; it begins with what happens from now on")
		return os.Rename(s.file, aside)
	}
	return nil
}

// save writes the file anew, so that it is the old one or the new one after a crash.
func (s *sink) save() error {
	s.saving.Lock()
	defer s.saving.Unlock()
	s.mu.Lock()
	text, err := json.Marshal(s.state)
	dirty := s.dirty
	s.dirty = false
	s.mu.Unlock()
	if err != nil || !dirty {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(s.file), 0o750); err != nil {
		return err
	}
	f, err := os.OpenFile(s.file+".new", os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o640)
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(s.file+".new", s.file)
}

// run sends what comes until ctx ends.
func (s *sink) run(ctx context.Context) {
	saved := make(chan struct{})
	go func() {
		defer close(saved)
		s.saveAgain(ctx)
	}()
	for pause := s.cfg.FirstPause; ctx.Err() == nil; pause = min(2*pause, s.cfg.LongestPause) {
		begun := s.cfg.Now()
		err := s.follow(ctx)
		if ctx.Err() == nil && err != nil {
			s.log.WithError(err).Warn("events cannot be read to be sent; trying again")
			if s.cfg.Now().Sub(begun) > s.cfg.LongestPause { // they could, for long
				pause = s.cfg.FirstPause
			}
			wait(ctx, pause)
		}
	}
	<-saved
	s.savedOrSaid()
}

// saveAgain writes down every second how far the sink has come, until ctx ends.
func (s *sink) saveAgain(ctx context.Context) {
	for ctx.Err() == nil {
		wait(ctx, saveEvery)
		s.savedOrSaid()
	}
}

// savedOrSaid is save, which says once that it does not work, until it does.
func (s *sink) savedOrSaid() {
	err := s.save()
	if err == nil {
		s.failed = false
		return
	}
	s.mu.Lock()
	s.dirty = true
	s.mu.Unlock()
	if !s.failed {
		s.log.WithError(err).Error("not written down how far the sink has come; trying again; after a start events are sent twice")
	}
	s.failed = true
}

// follow sends what comes until it cannot be read.
func (s *sink) follow(ctx context.Context) error {
	if err := s.place(ctx); err != nil {
		return err
	}
	err := s.cfg.Source.FollowEvents(ctx, plugin.EventFilter{After: s.position(), Host: s.cfg.Instance, Kinds: s.Kinds}, func(e plugin.Event) error {
		if err := s.deliver(ctx, e); err != nil {
			return err
		}
		s.passed(e.ID)
		return s.lookForGap(ctx)
	})
	if errors.Is(err, plugin.ErrStopping) {
		<-ctx.Done()
	}
	return err
}

// place makes sure that the position is one of this catalog: a new sink begins at the end of the log, and so does one whose
// position lies behind it, since the catalog is another one.
func (s *sink) place(ctx context.Context) error {
	last, err := s.cfg.Source.Events(ctx, plugin.EventFilter{Limit: 1, Newest: true})
	if err != nil {
		return err
	}
	var end int64
	if len(last) > 0 {
		end = last[0].ID
	}
	if !s.fresh && s.position() <= end {
		return s.lookForGap(ctx)
	}
	if !s.fresh {
		s.log.WithFields(logrus.Fields{"was": s.position(), "now": end}).Warn("the catalog is another one; the sink goes on with what happens from now on")
	}
	s.fresh = false
	s.mu.Lock()
	s.Position, s.dirty = end, true
	s.Behind, s.LostTo = false, 0
	s.mu.Unlock()
	return s.save()
}

func (s *sink) position() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.Position
}

// passed notes that an event is dealt with.
func (s *sink) passed(id int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.Position, s.waiting, s.dirty = id, time.Time{}, true
}

// deliver tries until the event is taken, or given up. The error is ctx's.
func (s *sink) deliver(ctx context.Context, e plugin.Event) error {
	s.mu.Lock()
	s.waiting = e.At
	if s.cfg.Now().Sub(e.At) > lateAfter {
		s.fellBehind()
	}
	s.mu.Unlock()
	begun, pause := s.cfg.Now(), s.cfg.FirstPause
	for {
		err := s.try(ctx, e)
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, ErrRefused), s.cfg.Now().Sub(begun) >= s.cfg.GiveUpAfter:
			s.bury(e, err)
			return nil
		}
		wait(ctx, pause/2+rand.N(pause))
		pause = min(2*pause, s.cfg.LongestPause)
	}
}

// try is one attempt.
func (s *sink) try(ctx context.Context, e plugin.Event) error {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.AttemptTime)
	defer cancel()
	err := s.Sender.Send(ctx, e)
	s.mu.Lock()
	defer s.mu.Unlock()
	if err == nil {
		s.sent++
		s.lastError = ""
		return nil
	}
	if s.lastError == "" {
		s.log.WithError(err).Warn("an event was not taken; trying again")
	}
	s.fellBehind()
	s.failures++
	s.lastError = err.Error()
	return err
}

// bury puts an event to the dead letters.
func (s *sink) bury(e plugin.Event, why error) {
	s.log.WithError(why).WithField("event", e.ID).Error("an event was given up")
	s.mu.Lock()
	defer s.mu.Unlock()
	s.DeadAll++
	s.Dead = append(s.Dead, plugin.DeadLetter{Event: e, Error: why.Error(), GivenUp: s.cfg.Now().UTC()})
	s.Dead = s.Dead[max(0, len(s.Dead)-keptDead):]
}

func (s *sink) view() plugin.SinkView {
	s.mu.Lock()
	defer s.mu.Unlock()
	v := plugin.SinkView{Name: s.Name, Position: s.Position, Sent: s.sent, Failures: s.failures, LastError: s.lastError,
		DeadCount: s.DeadAll, Lost: s.Lost, Dead: append([]plugin.DeadLetter{}, s.Dead...)}
	if !s.waiting.IsZero() {
		v.BehindSeconds = max(0, s.cfg.Now().Sub(s.waiting).Seconds())
	}
	return v
}

func wait(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
