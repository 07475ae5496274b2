package plugin

import (
	"bytes"
	"context"
	"io"
	"testing"

	"pgregory.net/rapid"
)

// holey tells holes of a disk in pieces of 512 bytes, as it likes: a hole may be told as data.
type holey struct {
	*bytes.Reader
	data []bool
}

func (h holey) NextData(_ context.Context, off int64) (from, to int64, err error) {
	size := h.Size()
	for piece := off / 512; piece*512 < size; piece++ {
		if h.data[piece] {
			return max(off, piece*512), min(size, (piece+1)*512), nil
		}
	}
	return size, size, nil
}

// What is read around holes is what is there.
func TestHolesReadAsWhatTheyAre(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		disk := drawDisk(t)
		h := holey{Reader: bytes.NewReader(disk), data: make([]bool, len(disk)/512+1)}
		for i := range h.data {
			at := min(i*512, len(disk))
			empty := len(bytes.Trim(disk[at:min(at+512, len(disk))], "\x00")) == 0
			h.data[i] = !empty || rapid.IntRange(0, 3).Draw(t, "told as data") == 0
		}
		got, err := io.ReadAll(newSparseReader(t.Context(), h, 0, int64(len(disk))))
		if err != nil || !bytes.Equal(got, disk) {
			t.Fatalf("read %d of %d bytes, %v", len(got), len(disk), err)
		}
		want, err := readSum(t.Context(), bytes.NewReader(disk), int64(len(disk)))
		if err != nil {
			t.Fatal(err)
		}
		for _, content := range []io.ReaderAt{h, bytes.NewReader(disk)} {
			if sum, err := dataSum(t.Context(), content, int64(len(disk))); err != nil || sum != want {
				t.Fatalf("sum around holes %s, %v, want %s", sum, err, want)
			}
		}
	})
}

func TestTooLittleBehindAHoleIsAnError(t *testing.T) {
	if _, err := io.ReadAll(newSparseReader(t.Context(), bytes.NewReader(make([]byte, 10)), 0, 11)); err == nil {
		t.Error("11 bytes were read of 10")
	}
	if sum, err := dataSum(t.Context(), bytes.NewReader(make([]byte, 10)), 11); err == nil {
		t.Errorf("of too little: %s", sum)
	}
}
