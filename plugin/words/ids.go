package words

import "strings"

// EntryID names one entry, for ever. IDs sort by when they were made.
type EntryID string

// Key is what an entry is found by: its content, or an image that was read and has this content.
type Key string

// ContentKey is the key of verified content: digest is "sha256:<hex>" or "sha512:<hex>".
func ContentKey(digest, diskFormat string) Key { return Key(digest + "/" + diskFormat) }

// RevisionKey is what one image is looked up by: revision is the source's, or the digest that it promises. As a key
// of a ready entry it says that this image's own bytes were read, and found to be the entry's. No two
// images have one key, whatever is in their names.
func RevisionKey(imageRef, revision, diskFormat string) Key {
	return Key("rev:" + escapeRef(imageRef) + "@" + revision + "/" + strings.NewReplacer("%", "%25", "/", "%2f").Replace(diskFormat))
}

// SourceKey is what an image is looked up by whose bytes are kept as they came: no key of what they decode to, in whatever
// format somebody declares them, is one like that.
func SourceKey(imageRef, digest string) Key { return Key("src:" + escapeRef(imageRef) + "@" + digest) }

// SourceContentKey is the key of verified bytes that are kept as they came.
func SourceContentKey(digest string) Key { return Key("src:" + digest) }

// escapeRef leaves no '@' in a reference, and no two that were different alike.
func escapeRef(imageRef string) string {
	return strings.NewReplacer("%", "%25", "@", "%40").Replace(imageRef)
}

// OfDigest tells whether a key is one of content with that digest, in whatever format.
func (k Key) OfDigest(digest string) bool { return strings.HasPrefix(string(k), digest+"/") }

// Of tells whether a key is one of that image.
func (k Key) Of(imageRef string) bool {
	return strings.HasPrefix(string(k), "rev:"+escapeRef(imageRef)+"@")
}

// InstanceID names one daemon: the same after each restart, whatever its host is called.
type InstanceID string

// ClaimID names a charge against the internal tenant's quota. Under Cinder it is the ID of the volume that Cinder made.
type ClaimID string
