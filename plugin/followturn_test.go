package plugin_test

import (
	"context"
	"errors"
	"io"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/clonecache/clonecache/backends/backendtest/fstest"
	"github.com/clonecache/clonecache/lru"
	"github.com/clonecache/clonecache/plugin"
	"github.com/clonecache/clonecache/plugin/imagesource"
)

// silentSource takes each question and answers none, as a server does whose host is cut off.
type silentSource struct {
	asked chan struct{} // gets a value with the first question
}

func (silentSource) Name() string { return "silent" }

func (s silentSource) Stat(ctx context.Context, _ string) (imagesource.Image, error) {
	select {
	case s.asked <- struct{}{}:
	default:
	}
	<-ctx.Done()
	return imagesource.Image{}, ctx.Err()
}

func (s silentSource) Open(ctx context.Context, i imagesource.Image) (io.ReadCloser, error) {
	_, err := s.Stat(ctx, i.ID)
	return nil, err
}

// A source that does not answer holds no other source's rules, neither at their time nor in a sweep; who waits for all of
// them may stop waiting, and a stop of the daemon ends all looks.
func TestASilentSourceHoldsNobodyElsesRules(t *testing.T) {
	silent := silentSource{make(chan struct{}, 1)}
	r := newRig(t, fstest.Mount(t, fstest.XFS, 512*mib), lru.Bounds{}, quick, withSource(silent), func(c *plugin.Config) {
		c.Follows = []plugin.FollowConfig{
			{Source: "silent", Image: "x", Every: time.Second},
			{Source: "library", Match: imagesource.Match{Pattern: "golden-*.raw"}, Every: time.Second},
		}
	})
	<-silent.asked
	r.aged(t, "golden-0.raw", time.Hour)
	waitFor(t, func() bool { return len(r.cached(t)) == 1 })
	r.wantCached(t, "beside a silent source", "library:golden-0.raw")

	ctx, cancel := context.WithCancel(t.Context())
	swept := make(chan error, 1)
	go func() { _, err := r.Queue().Sweep(ctx); swept <- err }()
	r.aged(t, "golden-1.raw", time.Hour)
	waitFor(t, func() bool { return len(r.cached(t)) == 2 })
	select {
	case err := <-swept:
		t.Errorf("a sweep ended with %v while it asked the silent source", err)
	default:
	}
	cancel()
	if err := <-swept; !errors.Is(err, context.Canceled) {
		t.Errorf("sweep: got %v", err)
	}
	stop, end := context.WithTimeout(t.Context(), time.Minute)
	defer end()
	if err := r.Close(stop); err != nil || stop.Err() != nil {
		t.Errorf("close: %v, %v", err, stop.Err())
	}
}

// stuckSource answers for all of its images but one.
type stuckSource struct {
	imagesource.Source
	imagesource.Lister
	at   string
	came chan struct{}
}

func (s stuckSource) Stat(ctx context.Context, id string) (imagesource.Image, error) {
	if id != s.at {
		return s.Source.Stat(ctx, id)
	}
	s.came <- struct{}{}
	<-ctx.Done()
	return imagesource.Image{}, ctx.Err()
}

// A look that is ended has queued what it had found by then.
func TestALookThatIsEndedQueuesWhatItFound(t *testing.T) {
	came := make(chan struct{}, 100)
	r := newRig(t, fstest.Mount(t, fstest.XFS, 512*mib), lru.Bounds{}, quick, func(c *plugin.Config) {
		c.Sources[0] = stuckSource{c.Sources[0], c.Sources[0].(imagesource.Lister), "golden-old.raw", came}
	}, following(plugin.FollowConfig{Source: "library", Match: imagesource.Match{Pattern: "golden-*.raw"}, Every: time.Hour}))
	waitFor(t, func() bool {
		all, err := r.Queue().Follows(t.Context())
		return err == nil && all[0].LookedAt != nil
	})
	r.aged(t, "golden-new.raw", time.Hour)
	r.aged(t, "golden-old.raw", 2*time.Hour)
	ctx, cancel := context.WithCancel(t.Context())
	swept := make(chan error, 1)
	go func() { _, err := r.Queue().Sweep(ctx); swept <- err }()
	<-came
	cancel()
	if err := <-swept; !errors.Is(err, context.Canceled) {
		t.Errorf("sweep: got %v", err)
	}
	waitFor(t, func() bool { return len(r.cached(t)) == 1 })
	r.wantCached(t, "found before the end", "library:golden-new.raw")
}

// troubledSource says of each image a long sentence.
type troubledSource struct{ silentSource }

func (troubledSource) Stat(context.Context, string) (imagesource.Image, error) {
	return imagesource.Image{}, errors.New(strings.Repeat("ä", 100_000))
}

// What a source says is told of a rule, but not at any length.
func TestARulesErrorIsBounded(t *testing.T) {
	r := newRig(t, fstest.Mount(t, fstest.XFS, 512*mib), lru.Bounds{}, quick, withSource(troubledSource{}),
		following(plugin.FollowConfig{Source: "silent", Image: "x"}))
	v := r.sweep(t)
	for _, text := range []string{v.Error, v.Images[0].Detail} {
		if len(text) > 4096 || !strings.Contains(text, "ää") || strings.ToValidUTF8(text, "") != text {
			t.Errorf("%d bytes: %.20q…", len(text), text)
		}
	}
}

// patientSource counts how often its only image is asked for.
type patientSource struct {
	*gatedSource
	asked atomic.Int64
}

func (s *patientSource) Stat(ctx context.Context, id string) (imagesource.Image, error) {
	s.asked.Add(1)
	return s.gatedSource.Stat(ctx, id)
}

// Word of a new image has its source's rules looked at long before their time, and many words come to few looks.
func TestWordOfANewImageIsLookedIntoSoon(t *testing.T) {
	source := &patientSource{gatedSource: newGatedSource()}
	close(source.gate)
	r := newRig(t, fstest.Mount(t, fstest.XFS, 512*mib), lru.Bounds{}, quick, withSource(source), following(
		plugin.FollowConfig{Source: "gated", Image: "new"},
		plugin.FollowConfig{Source: "library", Match: imagesource.Match{Pattern: "*.raw"}},
	))
	looked := func(rule int) bool {
		all, err := r.Queue().Follows(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return all[rule].LookedAt != nil
	}
	waitFor(t, func() bool { return looked(0) && looked(1) })
	r.aged(t, "other.raw", time.Hour)
	source.put("new", "1", random(mib))
	before := source.asked.Load()
	for range 1000 {
		r.Queue().LookSoon("gated")
		r.Queue().LookSoon("nobody's")
	}
	waitFor(t, func() bool { return len(r.cached(t)) > 0 })
	r.wantCached(t, "after the word", "gated:new")
	if asked := source.asked.Load() - before; asked > 20 {
		t.Errorf("asked %d times for one image", asked)
	}
}
