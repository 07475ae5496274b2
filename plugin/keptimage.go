package plugin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
	"time"

	"github.com/clonecache/clonecache/plugin/catalog"
	"github.com/clonecache/clonecache/plugin/imagesource"
	"github.com/clonecache/clonecache/plugin/words"
)

// servePiece is how many bytes are given to a requester at once while they come.
const servePiece = 256 << 10

// firstBytePatience is how long a fill may take until it can be read; after that its caller is better served by the source.
const firstBytePatience = 15 * time.Second

// KeptImage is an image's bytes, kept or on their way. It is for one goroutine, and to be closed.
type KeptImage struct {
	Image imagesource.Image // as its source describes it to the requester

	o        Bytes
	store    *store
	begun    time.Time
	entry    catalog.Entry
	role     Outcome
	file     *os.File // all of it is kept; nil: it is on its way
	given    int64    // bytes that Copy has written
	gave     gave     // of these, as they came
	unproven bool     // they are to be compared with the source's
	leave    func()   // the gate

	flight *flight // that it is on its way by; nil: none
	cancel context.CancelFunc
	ended  chan struct{} // closed once nobody waits for the flight any more
	filled *filled       // of ended; nil: it came to nothing
	err    error
}

// fetch joins the image's fill, or begins it, and returns once there is something to read. ErrNotKept.
func (k *KeptImage) fetch(ctx context.Context, want wanted, token imagesource.Token) error {
	var stay context.Context // the download may end before what it has brought is kept
	stay, k.cancel = context.WithCancel(context.WithoutCancel(ctx))
	k.ended = make(chan struct{})
	boarded := make(chan *flight, 1)
	who := &waiter{token: token, boarded: func(f *flight) {
		select {
		case boarded <- f:
		default: // it is another try, of which nothing is read
		}
	}}
	go func() {
		defer close(k.ended)
		k.filled, k.err = k.o.fills.fillShared(stay, want, k.store, who)
	}()
	patience := time.NewTimer(firstBytePatience)
	defer patience.Stop()
	select {
	case k.flight = <-boarded:
	case <-k.ended:
	}
	if err := k.readable(ctx, patience.C); err != nil {
		k.abandon()
		return fmt.Errorf("%w: %w", ErrNotKept, err)
	}
	return nil
}

// readable waits until the first bytes can be read.
func (k *KeptImage) readable(ctx context.Context, patience <-chan time.Time) error {
	for k.flight != nil {
		tide, turned := k.flight.tide.now()
		if tide.stage != nil {
			return nil
		}
		select {
		case <-turned:
		case <-k.flight.done:
			return k.land(ctx)
		case <-k.ended: // it was left
			return k.land(ctx)
		case <-ctx.Done():
			return ctx.Err()
		case <-patience:
			return fmt.Errorf("nothing came for %v", firstBytePatience)
		}
	}
	return k.land(ctx)
}

// land opens what the fill has made, once it has ended. Where it came to nothing for somebody else, it may go on for us; that
// is not waited for.
func (k *KeptImage) land(ctx context.Context) error {
	if k.flight != nil {
		select {
		case <-k.flight.done:
			if k.flight.err != nil {
				return k.flight.err
			}
		default:
		}
	}
	select {
	case <-k.ended:
	case <-ctx.Done():
		return ctx.Err()
	}
	if k.err != nil {
		return k.err
	}
	k.entry, k.role = k.filled.entry, k.filled.role
	var err error
	k.file, err = k.o.whole(ctx, k.store, k.entry)
	return err
}

// Whole tells whether all of the image's bytes are kept, and not on their way.
func (k *KeptImage) Whole() bool { return k.file != nil }

// abandon leaves the fill, and waits until that is so.
func (k *KeptImage) abandon() {
	if k.cancel != nil {
		k.cancel()
		<-k.ended
	}
}

// Close gives everything back, and lets the fill end that nobody else waits for; one that has all of the image's bytes by
// now goes on to keep them, and is not waited for.
func (k *KeptImage) Close() {
	if k.file != nil {
		_ = k.file.Close() // only read
	}
	if k.cancel == nil {
		k.end()
		return
	}
	if k.flight != nil && k.flight.soFar().Read < k.Image.SizeBytes {
		k.abandon()
	}
	go func() { // the gate is left by it
		<-k.ended
		k.cancel()
		k.end()
	}()
}

// end counts the download, and lets the plugin close.
func (k *KeptImage) end() {
	if k.role == "" && k.filled != nil {
		k.entry, k.role = k.filled.entry, k.filled.role
	}
	k.note()
	k.leave()
}

// note counts the download as a request to the file cache. What was not asked for, or not taken, would not have been downloaded
// without the cache.
func (k *KeptImage) note() {
	reason, downloaded := reasonOf(k.role), int64(0)
	if k.role == "" {
		return
	}
	if k.filled != nil {
		downloaded = k.filled.downloaded
	}
	r := catalog.Request{
		At: k.o.now().UTC(), Backend: k.store.name, ImageID: k.Image.Ref(), Project: projectOf(k.Image), Entry: k.entry.ID, Outcome: words.Outcome(k.role), Reason: reason,
		Took: k.o.now().Sub(k.begun), DownloadedBytes: downloaded, Detail: "the image's bytes",
	}
	if downloaded == 0 {
		r.SavedBytes = min(k.given, k.Image.SizeBytes)
	}
	_ = k.o.books.answer(0, r) // it ends no intent, and is logged
}

// Copy writes length bytes from off on, as they come, and says how many it has written. ErrPart: the rest is not to be had
// here, and Unproven tells whether it may be added to what was written. Another error is w's, or ctx's, or says that what was
// written is not the image's: nothing is to be added to that.
func (k *KeptImage) Copy(ctx context.Context, w io.Writer, off, length int64) (written int64, err error) {
	defer func() { k.given += written }()
	buffer := []byte(nil)
	for written < length && k.file == nil {
		if buffer == nil {
			buffer = make([]byte, servePiece)
		}
		n, err := k.piece(ctx, buffer[:min(int64(len(buffer)), length-written)], off+written)
		if err != nil {
			return written, err
		}
		if n == 0 {
			continue // it has landed
		}
		m, err := w.Write(buffer[:n])
		written += int64(m)
		if err != nil {
			return written, err
		}
	}
	if written == length {
		return written, nil
	}
	if err := k.sameWhole(); err != nil {
		return written, err
	}
	n, err := k.copyWhole(w, off+written, length-written)
	return written + n, err
}

// copyWhole writes from the file: to a connection without a copy in memory.
func (k *KeptImage) copyWhole(w io.Writer, off, length int64) (int64, error) {
	if _, err := k.file.Seek(off, io.SeekStart); err != nil {
		return 0, fmt.Errorf("%w: %w", ErrPart, err)
	}
	n, err := io.CopyN(w, k.file, length)
	if err != nil && !readersFault(err) {
		err = fmt.Errorf("%w: %w", ErrPart, err)
	}
	return n, err
}

// readersFault tells whether a connection took no more. A connection that reads from a file by itself wraps that file's
// errors as its own, so that these must be known by what they are.
func readersFault(err error) bool {
	for _, gone := range []error{syscall.EPIPE, syscall.ECONNRESET, os.ErrDeadlineExceeded, net.ErrClosed, io.ErrClosedPipe} {
		if errors.Is(err, gone) {
			return true
		}
	}
	return false
}

// piece reads what has come at off into b, and waits for that; 0 bytes: all of it is in the file by now. ErrPart, errUnlike.
func (k *KeptImage) piece(ctx context.Context, b []byte, off int64) (int, error) {
	for {
		tide, turned := k.flight.tide.now()
		if tide.stage != nil && off < tide.bytes {
			n, err := k.gave.next(tide, b[:min(int64(len(b)), tide.bytes-off)], off)
			if errors.Is(err, errUnlike) {
				return 0, k.told(err)
			}
			if n > 0 || err == nil {
				return n, nil
			}
			turned = nil // it has been committed, or has come to nothing
		}
		select {
		case <-turned:
			continue
		case <-k.flight.done:
		case <-ctx.Done():
			return 0, ctx.Err()
		}
		if err := k.land(ctx); err != nil && ctx.Err() == nil {
			return 0, k.ends(err)
		}
		return 0, ctx.Err()
	}
}
