package plugin

import "context"

// fillSlot is a fill's place among those that may read and write at a time. A fill takes it once the row is its own: one
// that another process makes is waited for without a place.
type fillSlot struct {
	slots  *slots
	source *slots // those of the image's source, which go first; nil: no bound
	taken  bool
}

// take waits for a place; with one it does nothing.
func (s *fillSlot) take(ctx context.Context) error {
	if s.taken {
		return nil
	}
	if s.source != nil {
		if err := s.source.take(ctx); err != nil {
			return err
		}
	}
	err := s.slots.take(ctx)
	if s.taken = err == nil; !s.taken && s.source != nil {
		s.source.leave()
	}
	return err
}

func (s *fillSlot) leave() {
	if s.taken {
		s.slots.leave()
		if s.source != nil {
			s.source.leave()
		}
		s.taken = false
	}
}
