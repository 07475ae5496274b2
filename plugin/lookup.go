package plugin

import (
	"cmp"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/plugin/catalog"
	"github.com/clonecache/clonecache/plugin/diskimage"
	"github.com/clonecache/clonecache/plugin/imagesource"
	"github.com/clonecache/clonecache/plugin/words"
)

// An entry serves an image if that image's own bytes were read and found to be the entry's content. The image's source
// authorises each request, for this requester and as things are now; what it lets somebody read is then what they
// get. A digest is no proof: whoever claims one has shown nothing but that they know it. So an image that nobody
// has read yet is read once, also where an entry with the digest that it claims is there, and afterwards it may share
// that entry, if the configuration of the backend that is asked lets it.

const (
	// unknownFormat stands for the format of an image whose source claims none.
	unknownFormat = "?"
	// rawByName is raw in a key where only a name, or the requester, says so.
	rawByName = "raw?"
	// unpackingRules are the first ones of the inspector by which raw bytes that are compressed are unpacked.
	unpackingRules = 2
)

// format is the claimed format in the keys of an image. Bytes that are raw by their name alone may be compressed: they
// become another disk than bytes whose service says raw, which are taken as they are.
func (w *wanted) format() string {
	if w.image.DiskFormat == string(diskimage.Raw) && w.image.ClaimedBy == imagesource.ByName {
		return rawByName
	}
	return cmp.Or(w.image.DiskFormat, unknownFormat)
}

// identify sets what the image is looked up by. A digest that the source promises tells its states apart better
// than a revision does, which changes with metadata too. One from a list beside the image does not suffice: the image
// may have been replaced and the list forgotten, so that it counts for the revision that was read and verified. A digest that who wants it alone brings is part of
// what a fill is asked for: others, who do not expect it, wait for no such fill.
func (w *wanted) identify() {
	format := w.format()
	state := cmp.Or(w.promised.String(), w.image.Revision)
	if w.listed() {
		state = w.image.Revision + " " + state
	}
	w.reading = words.RevisionKey(w.image.Ref(), state, format)
	if w.asItIs() {
		w.reading = words.SourceKey(w.image.Ref(), state)
	}
	w.key = w.reading
	if w.expected.IsZero() || w.asItIs() {
		return
	}
	revision := w.image.Revision
	if !w.image.Stable() {
		revision = ""
	}
	w.key = words.RevisionKey(w.image.Ref(), revision+"="+w.expected.String(), format)
}

// listed tells that the promised digest is from a list beside the image.
func (w *wanted) listed() bool { return !w.promised.IsZero() && w.image.List != "" }

// find returns the ready entry that the image was read into.
func (s *store) find(w *wanted) (catalog.Entry, bool) {
	for _, key := range []catalog.Key{w.key, w.reading} {
		e, ok := s.ready.find(key)
		if ok && (w.expected.IsZero() || e.Digest == w.expected.String()) {
			return e, true
		}
	}
	return catalog.Entry{}, false
}

// foundOnce tells that nobody looks the image up by the same key again.
func (w *wanted) foundOnce() bool {
	return !w.image.Stable() && w.expected.IsZero() && (w.promised.IsZero() || w.listed())
}

// proven is what the image may be found by once its bytes were read and have this digest: as it is now; and
// by the digest, once its source promises it. Where a change of its bytes would not show, the digest is all there is,
// and a request that brings it finds what everybody could read, as long as everybody can.
func (w *wanted) proven(digest imagesource.Digest) []catalog.Key {
	byDigest := words.RevisionKey(w.image.Ref(), digest.String(), w.format())
	switch {
	case w.asItIs():
		return []catalog.Key{words.SourceKey(w.image.Ref(), digest.String())}
	case w.listed() && w.image.Stable():
		return []catalog.Key{w.reading, words.RevisionKey(w.image.Ref(), w.image.Revision, w.format())}
	case !w.promised.IsZero():
		return []catalog.Key{byDigest}
	case !w.image.Stable() && w.expected.IsZero(), !w.image.Stable() && w.image.Domain != "":
		return []catalog.Key{byDigest}
	case !w.image.Stable():
		return []catalog.Key{w.key, byDigest}
	case w.key != w.reading:
		return []catalog.Key{w.reading, w.key, byDigest}
	}
	return []catalog.Key{w.reading, byDigest}
}

// provenBy is the same for an image-volume that tells of itself, earlier versions' ones too: the image that it names is
// the one that was read into it.
func provenBy(d backends.Description) []catalog.Key {
	if len(d.ImageIDs) == 0 {
		return nil
	}
	if d.Form == backends.Source {
		return []catalog.Key{words.SourceKey(d.ImageIDs[0], d.Digest)}
	}
	var keys []catalog.Key
	formats := []string{d.DiskFormat, unknownFormat}
	if d.DiskFormat == string(diskimage.Raw) && d.InspectorVersion >= unpackingRules {
		formats = append(formats, rawByName)
	}
	if key := d.RevisionKey; key.Of(d.ImageIDs[0]) {
		keys = append(keys, key)
	}
	if d.Digest != "" {
		for _, format := range formats {
			keys = append(keys, words.RevisionKey(d.ImageIDs[0], d.Digest, format))
		}
	}
	return keys
}

// sharing is whose equal content may be one entry, for those who ask this backend.
func (s *store) sharing() catalog.Sharing {
	if s.limit().shareAll {
		return catalog.ShareAll
	}
	return catalog.ShareOwner
}

// outdated tells whether an entry was let through by older rules than those of now.
func outdated(e catalog.Entry) bool { return e.InspectorVersion < diskimage.InspectorVersion }
