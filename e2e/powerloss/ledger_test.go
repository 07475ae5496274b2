package powerloss_test

import (
	"encoding/json"
	"fmt"
	"maps"
)

// statement is a mark: what was about to be done, or was answered.
type statement struct {
	Does    deed
	Volume  string   `json:",omitempty"`
	Image   string   `json:",omitempty"`
	Size    int64    `json:",omitempty"`
	Entries []string `json:",omitempty"`
}

// deed is what a statement tells of.
type deed string

const (
	creating deed = "creating" // a volume is asked for; any entry may be evicted for it
	created  deed = "created"  // it was answered
	writing  deed = "writing"  // its owner writes to it
	written  deed = "written"  // durably
	deleting deed = "deleting" // a volume is to go
	deleted  deed = "deleted"  // it was answered
	evicting deed = "evicting" // Entries are to go; none named: any may
	holding  deed = "holding"  // Entries are the ready ones, all of them
	pinned   deed = "pinned"   // Entries are pinned, all others are not
	pinning  deed = "pinning"  // pins are being changed
)

func (s statement) encode() []byte {
	text, err := json.Marshal(s)
	if err != nil {
		panic(err) // texts and numbers only
	}
	return text
}

// presence is whether something is there after the power came back.
type presence int

const (
	gone presence = iota
	maybe
	sure
)

// wantedVolume is what a volume must be if it is there.
type wantedVolume struct {
	presence
	image string
	size  int64    // as it was asked for; what is made is rounded up
	owner presence // whether it begins with its owner's bytes
}

// wanted is what the answers that were given up to some moment promise.
type wanted struct {
	volumes map[string]wantedVolume
	entries map[string]presence // unknown ones may be there: a fill may have ended unanswered
	pins    map[string]bool     // nil: they were being changed
	// begun are creations and deletions that were not answered, by volume.
	begun map[string]statement
	// rebuilt: the catalog may have had to be.
	rebuilt bool
}

// promised reads marks.
func promised(marks [][]byte) (wanted, error) {
	w := wanted{volumes: map[string]wantedVolume{}, entries: map[string]presence{}, pins: map[string]bool{}, begun: map[string]statement{}}
	for _, m := range marks {
		var s statement
		if err := json.Unmarshal(m, &s); err != nil {
			return w, fmt.Errorf("mark %q: %w", m, err)
		}
		w.add(s)
	}
	return w, nil
}

func (w *wanted) add(s statement) {
	switch s.Does {
	case creating:
		w.volumes[s.Volume] = wantedVolume{presence: maybe, image: s.Image, size: s.Size, owner: w.volumes[s.Volume].owner}
		w.begun[s.Volume] = s
		w.mayGo(nil)
	case created:
		w.volumes[s.Volume] = wantedVolume{presence: sure, image: s.Image, size: s.Size, owner: w.volumes[s.Volume].owner}
		delete(w.begun, s.Volume)
	case writing, written:
		v := w.volumes[s.Volume]
		v.owner = maybe
		if s.Does == written {
			v.owner = sure
		}
		w.volumes[s.Volume] = v
	case deleting:
		v := w.volumes[s.Volume]
		v.presence = maybe
		w.volumes[s.Volume], w.begun[s.Volume] = v, s
	case deleted:
		delete(w.volumes, s.Volume)
		delete(w.begun, s.Volume)
	case evicting:
		w.mayGo(s.Entries)
	case holding:
		for id := range w.entries {
			w.entries[id] = gone
		}
		for _, id := range s.Entries {
			w.entries[id] = sure
		}
	case pinning:
		w.pins = nil
	case pinned:
		w.pins = map[string]bool{}
		for _, id := range s.Entries {
			w.pins[id] = true
		}
	}
}

// olderCatalog says that the catalog is an older one: pins are as they were then.
func (w *wanted) olderCatalog() { w.pins, w.rebuilt = nil, true }

// mayGo says that entries may be evicted; nil: any of them.
func (w *wanted) mayGo(ids []string) {
	if ids == nil {
		for id := range maps.Keys(w.entries) {
			ids = append(ids, id)
		}
	}
	for _, id := range ids {
		if w.entries[id] == sure {
			w.entries[id] = maybe
		}
	}
}
