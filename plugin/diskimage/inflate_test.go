package diskimage

import (
	"bytes"
	"compress/flate"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"testing"
)

func deflated(t testing.TB, content []byte, level int) []byte {
	t.Helper()
	var out bytes.Buffer
	w, err := flate.NewWriter(&out, level)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(content); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// clusters are pieces of a real program and of random bytes of various density.
func clusters(t testing.TB, size int) [][]byte {
	t.Helper()
	path, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	program, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var out [][]byte
	for at := 0; at+size <= len(program); at += max(size, len(program)/3) {
		out = append(out, program[at:at+size])
	}
	rnd := rand.New(rand.NewPCG(3, 4))
	for _, symbols := range []int{1, 2, 17, 256} {
		c := make([]byte, size)
		for i := range c {
			c[i] = byte(rnd.IntN(1 + rnd.IntN(symbols)))
		}
		out = append(out, c)
	}
	return append(out, make([]byte, size))
}

func TestDeflateGivesBackWhatWasCompressed(t *testing.T) {
	var z deflater
	for _, size := range []int{1, 2, 100, 512, 4 << 10, 64 << 10} {
		for i, want := range clusters(t, size) {
			for _, level := range []int{flate.HuffmanOnly, flate.NoCompression, 1, 9} {
				in := deflated(t, want, level)
				got := make([]byte, size)
				used, err := z.cluster(got, append(in, 0xaa, 0xbb, 0xcc))
				if err != nil || used != len(in) || !bytes.Equal(got, want) {
					t.Fatalf("cluster %d of %d, level %d: used %d of %d, equal %v: %v", i, size, level, used, len(in), bytes.Equal(got, want), err)
				}
			}
		}
	}
}

func TestDeflateRefusesEveryPrefix(t *testing.T) {
	var z deflater
	for _, want := range clusters(t, 1000) {
		in := deflated(t, want, 6)
		got := make([]byte, len(want))
		for n := range in {
			if _, err := z.cluster(got, in[:n]); err == nil {
				t.Fatalf("%d of %d bytes were enough", n, len(in))
			}
		}
		if _, err := z.cluster(got[:len(got)-1], in); err == nil {
			t.Error("more than a cluster was taken")
		}
		if _, err := z.cluster(make([]byte, len(want)+1), in); err == nil {
			t.Error("less than a cluster was taken")
		}
	}
}

// checkLikeFlate compares with the standard library, whose reader is another program altogether: what it
// takes must be taken, and give the same.
func checkLikeFlate(t *testing.T, z *deflater, in []byte, size int) {
	t.Helper()
	want := make([]byte, size+1)
	r := bytes.NewReader(in)
	n, err := io.ReadFull(flate.NewReader(r), want)
	good := n == size && err == io.ErrUnexpectedEOF
	if n == size && err != nil && err != io.ErrUnexpectedEOF && err != io.EOF {
		good = false
	}
	got := bytes.Repeat([]byte{0x55}, size+64)
	used, gotErr := z.cluster(got[:size:size], in)
	// ReadFull turns both a proper end and a cut-off stream into ErrUnexpectedEOF: tell them apart.
	if good {
		if _, err := io.ReadAll(flate.NewReader(bytes.NewReader(in))); err != nil {
			good = false
		}
	}
	if good && gotErr != nil {
		t.Fatalf("size %d: flate takes it, got %v", size, gotErr)
	}
	if !good { // libdeflate takes some codes that are not complete; what it makes of them stays within out
		if !bytes.Equal(got[size:], bytes.Repeat([]byte{0x55}, 64)) {
			t.Fatalf("size %d: it wrote beyond the cluster", size)
		}
		return
	}
	if !bytes.Equal(got[:size], want[:size]) {
		t.Fatalf("size %d: differs", size)
	}
	if consumed := len(in) - r.Len(); used != consumed {
		t.Fatalf("used %d, flate %d", used, consumed)
	}
}

func TestDamagedDeflateStaysWithinItsCluster(t *testing.T) {
	var z deflater
	rnd := rand.New(rand.NewPCG(5, 6))
	for i, want := range clusters(t, 3000) {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			for _, level := range []int{flate.HuffmanOnly, 1, 9} {
				in := deflated(t, want, level)
				for range 100 {
					bad := bytes.Clone(in)
					for range 1 + rnd.IntN(3) {
						bad[rnd.IntN(len(bad))] ^= 1 << rnd.IntN(8)
					}
					checkLikeFlate(t, &z, bad, len(want))
				}
			}
		})
	}
}

func FuzzDeflate(f *testing.F) {
	for _, c := range clusters(f, 600) {
		f.Add(deflated(f, c, 1), 600)
		f.Add(deflated(f, c, 9), 600)
	}
	f.Fuzz(func(t *testing.T, in []byte, size int) {
		if size < 1 || size > 64<<10 { // no cluster is empty
			return
		}
		checkLikeFlate(t, &deflater{}, in, size)
	})
}

func BenchmarkDeflate(b *testing.B) {
	const size = 64 << 10
	var in [][]byte
	for _, c := range clusters(b, size) {
		in = append(in, deflated(b, c, 6))
	}
	in = in[:len(in)-7] // program bytes only
	out := make([]byte, size)
	var z deflater
	b.SetBytes(int64(size * len(in)))
	b.ReportAllocs()
	for b.Loop() {
		for _, c := range in {
			if _, err := z.cluster(out, c); err != nil {
				b.Fatal(err)
			}
		}
	}
}
