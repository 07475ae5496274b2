package imagesource

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"testing"
	"testing/iotest"
)

// content is n bytes that are the same in each run.
func content(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(b)
	return b
}

func sha256Of(b []byte) Digest {
	sum := sha256.Sum256(b)
	return Digest{SHA256, hex.EncodeToString(sum[:])}
}

func TestVerifyHandsOnEveryByte(t *testing.T) {
	for _, size := range []int{0, 1, verifyFirst, verifyFirst + 1, verifyBlock - 1, verifyBlock, verifyBlock + 1, 20*verifyBlock + 7} {
		want := content(size)
		for name, source := range map[string]io.Reader{
			"whole": bytes.NewReader(want), "halves": iotest.HalfReader(bytes.NewReader(want)),
			"data with EOF": iotest.DataErrReader(bytes.NewReader(want)),
		} {
			t.Run(fmt.Sprintf("%d bytes, %s", size, name), func(t *testing.T) {
				v := Verify(source, sha256Of(want))
				defer v.Close()
				got, err := io.ReadAll(struct{ io.Reader }{v})
				if err != nil || !bytes.Equal(got, want) {
					t.Fatalf("read %d bytes, %v; want %d", len(got), err, size)
				}
				checkVerified(t, v, want)
			})
		}
		t.Run(fmt.Sprintf("%d bytes, written", size), func(t *testing.T) {
			v := Verify(bytes.NewReader(want), sha256Of(want))
			defer v.Close()
			var got bytes.Buffer
			if n, err := io.Copy(&got, v); err != nil || n != int64(size) || !bytes.Equal(got.Bytes(), want) {
				t.Fatalf("wrote %d bytes, %v; want %d", n, err, size)
			}
			checkVerified(t, v, want)
		})
	}
}

// Blocks that are lent come whole and in order, and stay as they are until they are given back.
func TestVerifyLendsItsBlocks(t *testing.T) {
	want := content(20*verifyBlock + 7)
	v := Verify(iotest.HalfReader(bytes.NewReader(want)), sha256Of(want))
	defer v.Close()
	got := make([]byte, 100) // as headers are read before
	if _, err := io.ReadFull(v, got); err != nil {
		t.Fatal(err)
	}
	type lent struct {
		p       []byte
		release func()
	}
	var held []lent
	giveBack := func() {
		got = append(got, held[0].p...)
		held[0].release()
		held = held[1:]
	}
	for {
		p, release, err := v.ReadBlock()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if held = append(held, lent{p, release}); len(held) == verifyBlocks {
			giveBack()
		}
	}
	for len(held) > 0 {
		giveBack()
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%d bytes, which are not the %d of the source", len(got), len(want))
	}
	checkVerified(t, v, want)
}

func checkVerified(t *testing.T, v *VerifyingReader, want []byte) {
	t.Helper()
	if err := v.Check(); err != nil {
		t.Error(err)
	}
	if v.Sum() != sha256Of(want) || v.Bytes() != int64(len(want)) {
		t.Errorf("sum %s of %d bytes, want %s of %d", v.Sum(), v.Bytes(), sha256Of(want), len(want))
	}
}

func TestVerifyReadsTheSameByAnyCalls(t *testing.T) {
	v := Verify(bytes.NewReader(content(3*verifyBlock+5)), Digest{})
	defer v.Close()
	if err := iotest.TestReader(v, content(3*verifyBlock+5)); err != nil {
		t.Error(err)
	}
}

func TestVerifyNamesBothDigests(t *testing.T) {
	want := sha256Of([]byte("other"))
	v := Verify(bytes.NewReader([]byte("these")), want)
	defer v.Close()
	if err := v.Check(); err == nil || errors.Is(err, ErrDigestMismatch) {
		t.Errorf("check before the end = %v, want that the end was not reached", err)
	}
	_, _ = io.Copy(io.Discard, v)
	err := v.Check()
	if !errors.Is(err, ErrDigestMismatch) {
		t.Fatalf("check = %v, want ErrDigestMismatch", err)
	}
	for _, d := range []Digest{want, sha256Of([]byte("these"))} {
		if !bytes.Contains([]byte(err.Error()), []byte(d.Hex)) {
			t.Errorf("%q does not name %s", err, d)
		}
	}
}

func TestVerifyAlgorithms(t *testing.T) {
	for _, tt := range []struct{ want, algorithm Algorithm }{{SHA256, ""}, {SHA256, SHA256}, {SHA512, SHA512}} {
		v := Verify(bytes.NewReader([]byte("x")), Digest{Algorithm: tt.algorithm})
		_, _ = io.Copy(io.Discard, v)
		if got := v.Sum(); got.Algorithm != tt.want || got.check() != nil {
			t.Errorf("sum with %q = %s", tt.algorithm, got)
		}
		v.Close()
	}
	v := Verify(bytes.NewReader([]byte("x")), Digest{"md5", "9dd4e461268c8034f5c8564e155c67a6"})
	defer v.Close()
	_, _ = io.Copy(io.Discard, v)
	if err := v.Check(); !errors.Is(err, ErrDigestMismatch) {
		t.Errorf("an expected MD5 = %v, want ErrDigestMismatch", err)
	}
}

func TestVerifyPassesTheSourcesErrorOn(t *testing.T) {
	broken := errors.New("broken")
	source := io.MultiReader(bytes.NewReader(content(verifyBlock+1)), iotest.ErrReader(broken))
	v := Verify(source, Digest{})
	defer v.Close()
	got, err := io.ReadAll(v)
	if !errors.Is(err, broken) || len(got) != verifyBlock+1 {
		t.Errorf("read %d bytes, %v; want %d, %v", len(got), err, verifyBlock+1, broken)
	}
	if !v.Sum().IsZero() || v.Check() == nil {
		t.Error("a broken stream has a digest")
	}
}

func TestVerifyNoProgressIsAnError(t *testing.T) {
	v := Verify(idle{}, Digest{})
	defer v.Close()
	if _, err := v.Read(make([]byte, 1)); !errors.Is(err, io.ErrNoProgress) {
		t.Errorf("read = %v, want %v", err, io.ErrNoProgress)
	}
}

type idle struct{}

func (idle) Read([]byte) (int, error) { return 0, nil }

func TestVerifyCloseEndsAReadThatWaits(t *testing.T) {
	r, w := io.Pipe()
	defer w.Close()
	v := Verify(r, Digest{})
	if err := v.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := v.Read(make([]byte, 1)); !errors.Is(err, os.ErrClosed) {
		t.Errorf("read after close = %v, want os.ErrClosed", err)
	}
	if err := v.Close(); err != nil {
		t.Errorf("second close = %v", err)
	}
}

func TestVerifyCloseBeforeTheEnd(t *testing.T) {
	v := Verify(io.LimitReader(zeroes{}, 1<<40), Digest{})
	if _, err := io.ReadFull(v, make([]byte, 3*verifyBlock)); err != nil {
		t.Fatal(err)
	}
	if err := v.Close(); err != nil || v.Check() == nil {
		t.Errorf("close = %v, check = %v; want an error from check alone", err, v.Check())
	}
}

// zeroes yields nothing but zero bytes, as quickly as it can.
type zeroes struct{}

func (zeroes) Read(p []byte) (int, error) { return len(p), nil }

func BenchmarkVerify(b *testing.B) {
	for _, size := range []int64{1 << 30} {
		b.Run("write", func(b *testing.B) {
			b.SetBytes(size)
			for b.Loop() {
				v := Verify(io.LimitReader(zeroes{}, size), Digest{})
				_, _ = io.Copy(io.Discard, v)
				_ = v.Close()
			}
		})
		b.Run("read", func(b *testing.B) {
			b.SetBytes(size)
			p := make([]byte, 1<<20)
			for b.Loop() {
				v := Verify(io.LimitReader(zeroes{}, size), Digest{})
				_, _ = io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{v}, p)
				_ = v.Close()
			}
		})
		b.Run("hash alone", func(b *testing.B) {
			b.SetBytes(size)
			p := make([]byte, 1<<20)
			for b.Loop() {
				h := sha256.New()
				for range size >> 20 {
					h.Write(p)
				}
			}
		})
	}
}
