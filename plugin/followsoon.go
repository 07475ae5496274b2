package plugin

import "time"

const (
	// soon is how long it takes from word of a new image to the look at its source's rules, which waits for more words.
	soon = 250 * time.Millisecond
	// notOftener is the least time between two looks at a rule that words of new images lead to.
	notOftener = time.Second
)

// LookSoon has the rules of one source looked at within a second or so, because somebody says that it has a new image. It
// believes nothing of that, and waits for nothing; any number of calls come to one look a second at most. A source that no rule is
// about is none of its business.
func (o Queue) LookSoon(source string) { o.q.following().lookSoon(source) }

// lookSoon is LookSoon.
func (f *keeper) lookSoon(source string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	at := f.now().Add(soon)
	var wait time.Duration
	for _, r := range f.rules {
		if r.from != source {
			continue
		}
		due := at
		if earliest := r.begun.Add(notOftener); due.Before(earliest) {
			due = earliest
		}
		if r.next.After(due) {
			r.next = due
			wait = max(wait, due.Sub(at)+soon)
		}
	}
	if wait > 0 {
		time.AfterFunc(wait, f.poke)
	}
}
