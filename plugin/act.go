package plugin

import (
	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/plugin/catalog"
)

// Act is a change that somebody asked for through the API, and had.
type Act struct {
	Who     string        // a name of a token or a certificate, or the user at the other end of the socket
	What    string        // the operation and its path
	Backend backends.Name // that it was about; "": none, or all
	EntryID string        // "": none, or several
	Volume  backends.VolumeName
}

// NoteAct makes an event of it, which is written within moments: a kill before that loses it.
func (c Controls) NoteAct(a Act) {
	c.p.books.note(catalog.Event{Kind: EventActed, Who: clippedTo(mostWho, a.Who), Detail: a.What, Backend: a.Backend,
		Entry: catalog.EntryID(a.EntryID), Volume: a.Volume})
}
