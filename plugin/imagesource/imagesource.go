// Package imagesource is where images come from: a directory, HTTP(S), Glance. A Source answers what
// an image is and hands out its bytes as one stream; it never interprets them.
//
// Sources keep nothing on disk, so a crash leaves nothing behind.
package imagesource

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
)

var (
	// ErrNotFound: the source has no such image, or the requester may not see it.
	ErrNotFound = errors.New("image not found")
	// ErrNoSource: SOURCE:ID names an image source that there is not, and no source has an image of that whole
	// name either. It comes with ErrNotFound.
	ErrNoSource = errors.New("no image source of this name")
	// ErrForbidden: the requester may not read this image.
	ErrForbidden = errors.New("image may not be read")
	// ErrNotActive: the image exists, but its data is not to be had (queued, deactivated).
	ErrNotActive = errors.New("image is not active")
	// ErrChanged: the image changed while it was read; start again.
	ErrChanged = errors.New("image changed while it was read")
	// ErrTruncated: the stream ended before the announced size, and resuming did not help.
	ErrTruncated = errors.New("image data ended early")
	// ErrUnavailable: the source does not answer; the same call may succeed later.
	ErrUnavailable = errors.New("image source unavailable")
	// ErrRefused: the reference is not allowed (a path out of the directory, a redirect to another
	// host, a scheme or a host that is not on the list).
	ErrRefused = errors.New("image reference refused")
	// ErrAmbiguous: a bare image ID which several sources hold; the message names them.
	ErrAmbiguous = errors.New("image is ambiguous")
	// ErrDigestMismatch: the bytes are not what the digest says.
	ErrDigestMismatch = errors.New("image digest does not match")
	// ErrBadList: the line of a list of digests that names the image has none, or there are two.
	ErrBadList = errors.New("list of digests cannot be used")
	// ErrPage: the server answers with a web page in the image's place.
	ErrPage = errors.New("a web page in place of the image")
	// ErrCertificate: the server's certificate is not one to trust; asking again does not help.
	ErrCertificate = errors.New("certificate of the image source is not trusted")
	// ErrLogin: the server, or the proxy before it, wants a login, or does not take the one that it gets.
	ErrLogin = errors.New("login at the image source is refused")
	// ErrRedirect: the server redirects to a host to which it may not. It is an ErrRefused.
	ErrRedirect = fmt.Errorf("%w", ErrRefused)
	// ErrAddress: a host has a private or link-local address, and is not named in the configuration. It is
	// an ErrRefused.
	ErrAddress = fmt.Errorf("%w", ErrRefused)
)

// Errors are all errors of this package, the narrower ones before what they are as well. Whoever wants the image in
// another way would meet them too.
func Errors() []error {
	return []error{
		ErrNoSource, ErrBadList, ErrPage, ErrCertificate, ErrLogin, ErrRedirect, ErrAddress, ErrNotFound, ErrForbidden, ErrNotActive,
		ErrChanged, ErrTruncated, ErrUnavailable, ErrRefused, ErrAmbiguous, ErrDigestMismatch,
	}
}

// Algorithm is a digest algorithm that clonecache keys content by.
type Algorithm string

// The algorithms that are good enough to name content. MD5 is not.
const (
	SHA256 Algorithm = "sha256"
	SHA512 Algorithm = "sha512"
)

// Digest names content, as "sha256:<lower-case hex>". The zero Digest means unknown.
type Digest struct {
	Algorithm Algorithm
	Hex       string // lower case
}

// IsZero tells whether the digest is unknown.
func (d Digest) IsZero() bool { return d.Hex == "" }

func (d Digest) String() string {
	if d.IsZero() {
		return ""
	}
	return string(d.Algorithm) + ":" + d.Hex
}

// Image is what a source says of an image: claims, of which size and digest are verified while the
// bytes are read.
type Image struct {
	Source string // the source's configured name
	ID     string // within that source
	// Revision changes whenever the bytes may have: size and mtime_ns, ETag or Last-Modified,
	// updated_at. It never contains a secret.
	Revision  string
	SizeBytes int64 // of the image's own bytes; -1 unknown
	// VirtualBytes is the disk's size as far as the source says; 0 unknown. It is never relied on: the
	// image's own header decides.
	VirtualBytes int64
	MinDiskGiB   int64  // the smallest volume that the image's owner allows; 0: any
	Digest       Digest // expected; zero where the source has none
	// List is the list beside the image that Digest comes from. It may be older or newer than the image: so
	// the digest holds for this Revision only once the bytes were read and have it. "": the source itself
	// answers for the digest.
	List string
	// MD5 is what the image service publishes of the bytes beside Digest, in hex, for clients that compare it; "":
	// nothing. It is not relied on.
	MD5        string
	DiskFormat string // "raw", "qcow2", …: a claim; empty: what detection finds
	ClaimedBy  Claimer
	Domain     string // who may share its content: "" is everybody, else an owner
	ModifiedAt time.Time
	Location   string // where a backend could clone it directly from ("rbd://…"); empty: nowhere
	// StaleSince is since when the source does not answer, where this is what it said last; zero where it said
	// it now.
	StaleSince time.Time

	seen    identity // what a web server said of it
	address address  // the whole URL, where ID does not say all of it
}

// address is a URL whose query may be a credential. It prints as [secret].
type address string

// String hides the address.
func (address) String() string { return "[secret]" }

// GoString hides the address.
func (address) GoString() string { return "[secret]" }

// Claimer is who claims an image's DiskFormat.
type Claimer int

const (
	// ByName: the image's name, or the requester. It may be wrong, and says nothing of compression.
	ByName Claimer = iota
	// ByService: the image service's own metadata, which others that use the image rely on too.
	ByService
)

// Stable tells whether a change of the image's bytes would change its Revision. Where the source has nothing to tell
// by, each look has a revision of its own.
func (i Image) Stable() bool { return i.Revision != "" && !strings.HasPrefix(i.Revision, unvalidated) }

// Ref is the image's SOURCE:ID, or the ID alone where its source is not known yet.
func (i Image) Ref() string {
	if i.Source == "" {
		return i.ID
	}
	return i.Source + ":" + i.ID
}

// DataTeller is an optional capability of what Source.Open returns.
type DataTeller interface {
	// DataBytes is how many bytes of the image lie in no hole, as the source's filesystem says; what lies in
	// holes reads as zeroes. It is an estimate. -1: it does not say.
	DataBytes() int64
}

// SameRevision tells whether two looks saw one revision. Where the server gives nothing by which a change would
// show, that is not known, and the size decides.
func (i Image) SameRevision(other Image) bool {
	if strings.HasPrefix(i.Revision, unvalidated) && strings.HasPrefix(other.Revision, unvalidated) {
		return i.SizeBytes == other.SizeBytes
	}
	return i.Revision == other.Revision
}

// Source is one place where images come from. It may be used from several goroutines.
type Source interface {
	// Name is the source's configured name.
	Name() string
	// Stat says what the image is, authorised for this requester, on hits as on misses.
	// ErrNotFound, ErrForbidden, ErrNotActive, ErrUnavailable, ErrRefused.
	Stat(ctx context.Context, id string) (Image, error)
	// Open returns the image's bytes from the first to the last, resuming underneath where it can.
	// Read returns ErrChanged, ErrTruncated or ErrUnavailable. It yields exactly SizeBytes bytes where
	// that is known. ctx covers the reading too.
	Open(ctx context.Context, image Image) (io.ReadCloser, error)
}

// Revised is a reader of an image whose revision is another than the one that Stat saw: servers behind one
// name may call the same bytes differently.
type Revised interface {
	// Revision is what Image.Revision is of the bytes that are read; "" where it is the one that was asked for.
	Revision() string
}
