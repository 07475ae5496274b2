package imagesource

import "time"

// Stale is a Source whose images may be served, from what it said last, while it does not answer.
type Stale interface {
	// StaleFor is how long that may go on; 0: not at all.
	StaleFor() time.Duration
}

// Shown is a Source whose IDs may hold what must not be shown.
type Shown interface {
	// Shown is an ID as logs and answers may have it.
	Shown(id string) string
}

// Underlying is the source within a Watched, which is asked what else the source can; else the source itself.
func Underlying(s Source) Source {
	if w, ok := s.(interface{ Underlying() Source }); ok {
		return w.Underlying()
	}
	return s
}

// ShownID is an ID as logs and answers may have it: without what a web server's image has for a query.
func ShownID(s Source, id string) string {
	if shown, ok := Underlying(s).(Shown); ok {
		return shown.Shown(id)
	}
	return id
}

// ShownRef is a reference as logs and answers may have it before its source is known: without what would be a
// query, a user or a password if it is a web server's.
func ShownRef(ref string) string { return clean(ref) }
