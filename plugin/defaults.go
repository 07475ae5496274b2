package plugin

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/internaltenant"
	"github.com/clonecache/clonecache/plugin/catalog"
)

const (
	defaultScratchBytes    = 20 << 30
	defaultLease           = 30 * time.Second
	defaultFlush           = time.Second
	defaultFills           = 4
	defaultQueueEvery      = 5 * time.Second
	defaultRetryAfter      = 30 * time.Second
	defaultReportRetention = 90 * 24 * time.Hour
	defaultEvents          = 10_000
	defaultKeepFailed      = 24 * time.Hour
	defaultCleanEvery      = 24 * time.Hour
	defaultScrubEvery      = 7 * 24 * time.Hour
	defaultScrubShare      = 5 // percent
)

// setDefaults fills in what the configuration leaves open.
func (c *Config) setDefaults() error {
	if c.Host == "" {
		host, err := os.Hostname()
		if err != nil {
			return fmt.Errorf("name of this host: %w", err)
		}
		c.Host = host
	}
	setDefault(&c.Version, version())
	if c.ScratchDir == "" {
		c.ScratchDir = filepath.Join(c.StateDir, "scratch")
	}
	setDefault(&c.ScratchMaxBytes, defaultScratchBytes)
	setDefault(&c.LeaseFor, defaultLease)
	setDefault(&c.FlushEvery, defaultFlush)
	setDefault(&c.FillLimit, defaultFills)
	setDefault(&c.QueueEvery, defaultQueueEvery)
	setDefault(&c.RetryAfter, defaultRetryAfter)
	setDefault(&c.ReportRetention, defaultReportRetention)
	setDefault(&c.EventsMax, defaultEvents)
	setDefault(&c.KeepFailed, defaultKeepFailed)
	setDefault(&c.CleanEvery, defaultCleanEvery)
	setDefault(&c.ScrubEvery, defaultScrubEvery)
	setDefault(&c.ScrubShare, defaultScrubShare)
	if c.ScrubShare < 1 || c.ScrubShare > 100 {
		return fmt.Errorf("%w: ScrubShare: %d is no percentage from 1 to 100", ErrBadRequest, c.ScrubShare)
	}
	if c.NewOwner == nil {
		c.NewOwner = func(l internaltenant.Ledger) (internaltenant.Owner, error) {
			return internaltenant.NewLocal(internaltenant.LocalConfig{ProjectID: "clonecache", UserID: "clonecache"}, l)
		}
	}
	if c.Log == nil {
		silent := logrus.New()
		silent.SetOutput(io.Discard)
		c.Log = silent
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Observer == nil {
		c.Observer = noObserver{}
	}
	return nil
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// noObserver hears nothing.
type noObserver struct{}

func (noObserver) Request(backends.Name, Outcome, Reason, time.Duration) {}
func (noObserver) RequestError(backends.Name, error)                     {}
func (noObserver) FillStarted(backends.Name)                             {}
func (noObserver) FillEnded(backends.Name, time.Duration, error)         {}
func (noObserver) FillSpent(backends.Name, catalog.FillPhases)           {}
func (noObserver) Downloaded(backends.Name, int64)                       {}
func (noObserver) Saved(backends.Name, int64)                            {}
func (noObserver) Evicted(backends.Name, string, int64)                  {}
