package plugin

import (
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/clonecache/clonecache/plugin/catalog"
)

const (
	// sparedOver is how long what was fetched sparingly counts.
	sparedOver = time.Hour
	// sparedPart is the part of a file cache that may be fetched sparingly meanwhile, as its fraction.
	sparedPart = 4
	// sparedAtOnce is how many images may be fetched sparingly meanwhile, however small they are.
	sparedAtOnce = 100
)

// spared is what was fetched for people whom nobody knows, who would otherwise have everything evicted by asking for everything. It is
// this process's alone.
type spared struct {
	mu    sync.Mutex
	begun []sparedFetch // within sparedOver, in order
}

// sparedFetch is one image that was fetched so. It counts once, however often it is fetched: more than itself it displaces nothing.
type sparedFetch struct {
	store  *store
	key    catalog.Key // the image's content
	at     time.Time
	bytes  int64
	queued bool // in the background: not again meanwhile, so that one that fails is not read at each request
}

// errSparedBefore: the image was queued before.
var errSparedBefore = fmt.Errorf("%w: it was queued for whomever within an hour", ErrNotKept)

// spare counts an image that is to be fetched sparingly, at once or in the background. The first one of an hour may be of any size.
// ErrNotKept: too much was, lately; errSparedBefore.
func (o Bytes) spare(s *store, want *wanted, queued bool) error {
	now, most := o.now(), s.limit().bounds.MaxBytes/sparedPart
	o.spared.mu.Lock()
	defer o.spared.mu.Unlock()
	o.spared.begun = slices.DeleteFunc(o.spared.begun, func(f sparedFetch) bool { return now.Sub(f.at) >= sparedOver })
	before := int64(0)
	for i := range o.spared.begun {
		switch f := &o.spared.begun[i]; {
		case f.store != s:
		case f.key != want.key:
			before += f.bytes
		case queued && f.queued:
			return errSparedBefore
		default:
			f.queued = f.queued || queued
			return nil
		}
	}
	bytes := max(want.image.SizeBytes, most/sparedAtOnce)
	if before > 0 && before+bytes > most {
		return fmt.Errorf("%w: what was fetched into file cache %s for whomever within an hour, %d bytes, may be no more than %d with %s",
			ErrNotKept, s.name, before, most, want.image.Ref())
	}
	o.spared.begun = append(o.spared.begun, sparedFetch{s, want.key, now, bytes, queued})
	return nil
}
