// Package outbox sends events to others: to webhooks, and as OpenStack's notifications. Each goes at least once, in the
// order in which this daemon noted them.
//
// It owns a directory with one small file a sink: how far it has come, and what was refused for good. It never delays a
// request: it reads the log of events behind everybody else. A crash sends again what was sent since the file was last
// written, every second. What the log has dropped (events_max) before a sink took it is lost: how far a sink is behind warns of it,
// and how many there were is counted, of all kinds, and told.
package outbox

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/clonecache/clonecache/plugin"
)

// ErrRefused: whom an event is for will never take it. It goes to the dead letters.
var ErrRefused = errors.New("refused for good")

// Sender brings an event to somebody.
type Sender interface {
	// Send returns once it has arrived. ErrRefused: trying again is of no use.
	Send(ctx context.Context, e plugin.Event) error
}

// Sink is one place that events go to.
type Sink struct {
	Name   string // unique; its file is called so
	Kinds  []plugin.EventKind
	Sender Sender
}

// Source is where events come from: the cache.
type Source interface {
	Events(ctx context.Context, f plugin.EventFilter) ([]plugin.Event, error)
	FollowEvents(ctx context.Context, f plugin.EventFilter, take func(plugin.Event) error) error
}

// Config makes an Outbox.
type Config struct {
	Dir      string            // made where it is not there
	Instance plugin.InstanceID // whose events are sent
	Source   Source
	Gaps     Gaps
	Sinks    []Sink
	Log      logrus.FieldLogger

	// FirstPause and LongestPause are between attempts; each pause is twice the one before. Default: 1 s, 5 min.
	FirstPause, LongestPause time.Duration
	// AttemptTime bounds one attempt. Default: 30 s.
	AttemptTime time.Duration
	// GiveUpAfter is how long an event is tried before it is a dead letter. Default: 24 h.
	GiveUpAfter time.Duration
	Now         func() time.Time // default: time.Now
}

// Outbox sends events while Run does. View may be called from any goroutine.
type Outbox struct {
	cfg   Config
	sinks []*sink
}

// New reads how far each sink has come.
func New(cfg Config) (*Outbox, error) {
	cfg = cfg.withDefaults()
	o := &Outbox{cfg: cfg}
	for _, s := range cfg.Sinks {
		one := &sink{Sink: s, cfg: &o.cfg, file: filepath.Join(cfg.Dir, s.Name+".json"), log: cfg.Log.WithField("sink", s.Name)}
		if err := one.read(); err != nil {
			return nil, fmt.Errorf("how far sink %s has come: %w", s.Name, err)
		}
		o.sinks = append(o.sinks, one)
	}
	return o, nil
}

func (c Config) withDefaults() Config {
	if c.FirstPause == 0 {
		c.FirstPause = time.Second
	}
	if c.LongestPause == 0 {
		c.LongestPause = 5 * time.Minute
	}
	if c.AttemptTime == 0 {
		c.AttemptTime = 30 * time.Second
	}
	if c.GiveUpAfter == 0 {
		c.GiveUpAfter = 24 * time.Hour
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return c
}

// Run sends until ctx ends, and returns once every sink has noted how far it has come.
func (o *Outbox) Run(ctx context.Context) {
	var running sync.WaitGroup
	for _, s := range o.sinks {
		running.Go(func() { s.run(ctx) })
	}
	running.Wait()
}

// View is how each sink is.
func (o *Outbox) View() []plugin.SinkView {
	views := make([]plugin.SinkView, 0, len(o.sinks))
	for _, s := range o.sinks {
		views = append(views, s.view())
	}
	return views
}
