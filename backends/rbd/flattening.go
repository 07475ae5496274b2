//go:build ceph

package rbd

/*
#cgo LDFLAGS: -lrbd
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <rbd/librbd.h>

// What librbd's thread and Go's share: how far it is, and whether it shall stop.
typedef struct {
	uint64_t done, total;
	int stop;
} flattening_t;

static int flattening_report(uint64_t done, uint64_t total, void *arg) {
	flattening_t *f = arg;
	__atomic_store_n(&f->total, total, __ATOMIC_RELAXED);
	__atomic_store_n(&f->done, done, __ATOMIC_RELEASE);
	return __atomic_load_n(&f->stop, __ATOMIC_RELAXED) ? -ECANCELED : 0;
}

static int flattening_run(rados_ioctx_t io, const char *id, flattening_t *f) {
	rbd_image_t image;
	int r = rbd_open_by_id(io, id, &image, NULL);
	if (r < 0)
		return r;
	if (__atomic_load_n(&f->stop, __ATOMIC_RELAXED))
		r = -ECANCELED;
	else
		r = rbd_flatten_with_progress(image, flattening_report, f);
	int closed = rbd_close(image);
	return r < 0 ? r : closed;
}

static uint64_t flattening_done(flattening_t *f) { return __atomic_load_n(&f->done, __ATOMIC_ACQUIRE); }
static uint64_t flattening_total(flattening_t *f) { return __atomic_load_n(&f->total, __ATOMIC_RELAXED); }
static void flattening_stop(flattening_t *f) { __atomic_store_n(&f->stop, 1, __ATOMIC_RELAXED); }
*/
import "C"

import (
	"fmt"
	"math/bits"
	"sync"
	"unsafe"

	"github.com/ceph/go-ceph/rados"
)

// flattening is one flatten that runs. It is here, and not go-ceph's, since that has the call with progress
// only in builds with its preview of things to come, and without it a flatten cannot be stopped.
type flattening struct {
	mu sync.Mutex
	c  *C.flattening_t // in C's memory; nil once it has ended

	done, total uint64 // after the end
}

func newFlattening() *flattening {
	return &flattening{c: (*C.flattening_t)(C.calloc(1, C.sizeof_flattening_t))}
}

// cephError is librbd's answer.
type cephError int

func (e cephError) Error() string  { return fmt.Sprintf("rbd: ret=%d", int(e)) }
func (e cephError) ErrorCode() int { return int(e) }

// run flattens; free comes after it.
func (f *flattening) run(io *rados.IOContext, rbdID string) error {
	id := C.CString(rbdID)
	defer C.free(unsafe.Pointer(id))
	if r := C.flattening_run(C.rados_ioctx_t(io.Pointer()), id, f.c); r < 0 {
		return cephError(r)
	}
	return nil
}

// steps counts the objects that are done.
func (f *flattening) steps() uint64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.c != nil {
		f.done, f.total = uint64(C.flattening_done(f.c)), uint64(C.flattening_total(f.c))
	}
	return f.done
}

// share is how much of that many bytes is done.
func (f *flattening) share(bytes int64) int64 {
	done := f.steps()
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.total == 0 {
		return 0
	}
	high, low := bits.Mul64(uint64(bytes), min(done, f.total))
	share, _ := bits.Div64(high, low, f.total)
	return int64(share)
}

// finish makes all of it done.
func (f *flattening) finish() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.done, f.total = 1, 1
}

// cancel lets it stop at the next object.
func (f *flattening) cancel() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.c != nil {
		C.flattening_stop(f.c)
	}
}

func (f *flattening) free() {
	f.mu.Lock()
	defer f.mu.Unlock()
	C.free(unsafe.Pointer(f.c))
	f.c = nil
}
