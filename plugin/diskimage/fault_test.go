package diskimage_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"runtime"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"testing/synctest"

	"github.com/clonecache/clonecache/plugin/diskimage"
	"github.com/clonecache/clonecache/plugin/diskimage/diskimagetest"
)

var errBroken = errors.New("broken") // what streams and targets of these tests fail with

type brokenTarget struct{ after atomic.Int64 }

func (b *brokenTarget) WriteAt(p []byte, _ int64) (int, error) {
	if b.after.Add(-1) < 0 {
		return 0, errBroken
	}
	return len(p), nil
}

// images are one raw and some qcow2 images of the same disk.
func images(t testing.TB) (disk []byte, all map[string][]byte) {
	t.Helper()
	disk = programBytes(t, 4<<20)
	return disk, map[string][]byte{
		"raw":         disk,
		"plain":       diskimagetest.QCOW2{Content: disk}.Bytes(),
		"zlib":        diskimagetest.QCOW2{Content: disk, Storage: diskimagetest.Zlib}.Bytes(),
		"tables last": diskimagetest.QCOW2{Content: disk, Order: diskimagetest.TablesLast}.Bytes(),
	}
}

func TestDecodeTellsWhoFailed(t *testing.T) {
	_, all := images(t)
	for name, image := range all {
		size := int64(len(image))
		half := io.LimitReader(bytes.NewReader(image), size/2)
		for _, c := range []struct {
			name   string
			stream io.Reader
			size   int64
			fails  int64 // write that fails; 0: none
			want   []error
		}{
			{"stream breaks", io.MultiReader(half, iotest.ErrReader(errBroken)), size, 0, []error{diskimage.ErrSource, errBroken}},
			{"stream breaks at once", iotest.ErrReader(errBroken), size, 0, []error{diskimage.ErrSource, errBroken}},
			{"stream breaks as if it ended", io.MultiReader(io.LimitReader(bytes.NewReader(image), size/2), iotest.ErrReader(io.ErrUnexpectedEOF)), -1, 0, []error{diskimage.ErrSource, io.ErrUnexpectedEOF}},
			{"stream is shorter", io.LimitReader(bytes.NewReader(image), size-100), size, 0, []error{diskimage.ErrSource, io.ErrUnexpectedEOF}},
			{"stream is longer", io.MultiReader(bytes.NewReader(image), bytes.NewReader(image)), size, 0, []error{diskimage.ErrSource, diskimage.ErrSourceLonger}},
			{"target breaks at once", bytes.NewReader(image), size, 1, []error{diskimage.ErrTarget, errBroken}},
			{"target breaks later", bytes.NewReader(image), -1, 3, []error{diskimage.ErrTarget, errBroken}},
		} {
			t.Run(name+"/"+c.name, func(t *testing.T) {
				var target io.WriterAt = &boundedTarget{TB: t, size: 1 << 30}
				if c.fails > 0 {
					b := &brokenTarget{}
					b.after.Store(c.fails - 1)
					target = b
				}
				r, err := diskimage.Open(t.Context(), c.stream, diskimage.Options{SourceBytes: c.size, Scratch: newScratch(t)})
				if err == nil {
					_, err = r.Decode(t.Context(), target, nil)
				}
				for _, want := range c.want {
					if !errors.Is(err, want) {
						t.Errorf("got %v, want it to match %v", err, want)
					}
				}
				if errors.Is(err, diskimage.ErrRefused) {
					t.Errorf("got %v: that is not the image's fault", err)
				}
			})
		}
	}
}

// stalled gives its bytes and then waits, as a source does that its context will end.
type stalled struct {
	io.Reader
	ctx context.Context
}

func (s *stalled) Read(p []byte) (int, error) {
	n, err := s.Reader.Read(p)
	if err == io.EOF {
		<-s.ctx.Done()
		return 0, s.ctx.Err()
	}
	return n, err
}

func TestDecodeEndsWithItsContext(t *testing.T) {
	_, all := images(t)
	for name, image := range all {
		t.Run(name, func(t *testing.T) {
			scratch := newScratch(t)
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancelCause(t.Context())
				stream := &stalled{bytes.NewReader(image[:len(image)*2/3]), ctx}
				r, err := diskimage.Open(ctx, stream, diskimage.Options{SourceBytes: int64(len(image)), Scratch: scratch})
				if err != nil {
					t.Fatal(err)
				}
				done := make(chan error)
				go func() {
					_, err := r.Decode(ctx, &boundedTarget{TB: t, size: 1 << 30}, nil)
					done <- err
				}()
				synctest.Wait()
				cancel(errBroken)
				if err := <-done; !errors.Is(err, errBroken) || errors.Is(err, diskimage.ErrRefused) {
					t.Errorf("got %v, want the context's cause", err)
				}
			})
		})
	}
}

func TestCloseEndsDecode(t *testing.T) {
	_, all := images(t)
	image := all["zlib"]
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		r, err := diskimage.Open(ctx, bytes.NewReader(image), diskimage.Options{SourceBytes: -1})
		if err != nil {
			t.Fatal(err)
		}
		closed := false
		_, err = r.Decode(ctx, &boundedTarget{TB: t, size: 1 << 30}, func(_, _ int64) {
			if !closed {
				closed = true
				if err := r.Close(); err != nil {
					t.Error(err)
				}
			}
		})
		if err == nil {
			t.Error("Decode went on after Close")
		}
		if _, err := r.Decode(ctx, &boundedTarget{TB: t}, nil); err == nil {
			t.Error("a second Decode began")
		}
	})
}

func TestScratchIsFreeAfterDecode(t *testing.T) {
	disk, all := images(t)
	image := all["tables last"]
	for _, c := range []struct {
		name  string
		bound int64
		bytes []byte
		want  error
	}{
		{"fits", 16 << 20, image, nil},
		{"does not fit", 1 << 20, image, diskimage.ErrScratchFull},
		{"refused", 16 << 20, image[:len(image)-1000], diskimage.ErrRefused},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			scratch, err := diskimage.NewDirScratch(dir, c.bound)
			if err != nil {
				t.Fatal(err)
			}
			before := openFiles(t)
			got, stats, err := decode(t, bytes.NewReader(c.bytes), diskimage.Options{SourceBytes: -1, Scratch: scratch})
			if !errors.Is(err, c.want) || c.want == nil && !bytes.Equal(got, disk) {
				t.Errorf("got %v, want %v", err, c.want)
			}
			if stats.ScratchBytes > c.bound {
				t.Errorf("%d bytes of scratch, bound %d", stats.ScratchBytes, c.bound)
			}
			if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
				t.Errorf("left over: %v, %v", left, err)
			}
			if after := openFiles(t); after > before {
				t.Errorf("%d files open, %d before", after, before)
			}
			f, err := scratch.File()
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			if _, err := f.WriteAt(make([]byte, c.bound), 0); err != nil {
				t.Errorf("not all of the scratch space is free again: %v", err)
			}
		})
	}
	if _, _, err := decode(t, bytes.NewReader(image), diskimage.Options{SourceBytes: -1}); !errors.Is(err, diskimage.ErrScratchFull) {
		t.Errorf("without any scratch: got %v, want ErrScratchFull", err)
	}
}

func openFiles(t *testing.T) int {
	t.Helper()
	if runtime.GOOS != "linux" {
		return 0
	}
	all, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(all)
}

func TestProgressEndsAtTheSums(t *testing.T) {
	_, all := images(t)
	for name, image := range all {
		t.Run(name, func(t *testing.T) {
			r, err := diskimage.Open(t.Context(), bytes.NewReader(image), diskimage.Options{SourceBytes: -1, Scratch: newScratch(t)})
			if err != nil {
				t.Fatal(err)
			}
			var read, written int64
			stats, err := r.Decode(t.Context(), &boundedTarget{TB: t, size: 4 << 20}, func(r, w int64) {
				if r < read || w < written {
					t.Errorf("sums went back: %d, %d after %d, %d", r, w, read, written)
				}
				read, written = r, w
			})
			if err != nil || read != stats.SourceBytes || written != stats.WrittenBytes || read != int64(len(image)) {
				t.Errorf("read %d, written %d, stats %+v, %v", read, written, stats, err)
			}
			if stats.VirtualBytes != 4<<20 || r.Info().VirtualBytes > 4<<20 {
				t.Errorf("stats %+v, info %+v", stats, r.Info())
			}
		})
	}
}
