package plugin

import (
	"context"
	"errors"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/plugin/catalog"
)

// reached notes that a store answers, or does not, where that is news.
func (ro *roster) reached(s *store, err error) {
	switch {
	case err == nil:
		if s.silence.Swap(nil) != nil {
			ro.back()
			ro.books.note(catalog.Event{Kind: EventBack, Backend: s.name})
		}
	case errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded):
	case errors.Is(err, backends.ErrUnavailable):
		if s.silence.CompareAndSwap(nil, &silence{since: ro.now().UTC(), why: err.Error()}) {
			ro.books.note(catalog.Event{Kind: EventUnreachable, Backend: s.name, Detail: err.Error()})
		}
	}
}
