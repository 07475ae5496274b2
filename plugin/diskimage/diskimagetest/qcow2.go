// Package diskimagetest makes disk images for tests: small valid qcow2 files of any layout, and hostile
// files of every kind that the inspector must refuse. It is written from the formats' descriptions,
// apart from the decoder, so that both being wrong in the same way is unlikely.
package diskimagetest

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"

	"github.com/klauspost/compress/flate"
	"github.com/klauspost/compress/zstd"
)

// Storage is how data clusters lie in the file.
type Storage int

// Plain clusters are stored as they are.
const (
	Plain Storage = iota
	Zlib
	Zstd
)

// Order is where things lie in the file. The header is always first.
type Order int

// The orders.
const (
	TablesFirst Order = iota // L1, L2 tables, data: as qemu-img writes
	TablesLast               // data, L2 tables, L1
	Shuffled                 // anything anywhere
)

// QCOW2 describes an image.
type QCOW2 struct {
	Version     int // 0: 3
	ClusterBits int // 0: 16
	Content     []byte
	Size        int64 // 0: Content's length, rounded up to 512
	Storage     Storage
	Order       Order
	Seed        uint64 // of Shuffled
	ZeroFlags   int    // every so many zero clusters are stored as zero clusters, not as holes; 0: none
}

// Layout says where things came to lie.
type Layout struct {
	L1, RefcountTable int64
	L2                []int64 // 0 where there is none
	Data              []int64 // by cluster of the disk; 0 where there is none
}

// part is one thing that gets a place in the file.
type part struct {
	bytes    []byte // nil for tables, which are filled in at last
	clusters int64
	place    *int64
	packed   bool // may begin at any byte, right behind the part before
}

type builder struct {
	QCOW2
	cluster int64
	layout  Layout
	l1Size  int64
	sizes   []int64 // of compressed clusters
	flags   []uint64
	flate   *flate.Writer
	zstd    *zstd.Encoder
}

// Bytes makes the image. It panics on descriptions that make no sense, as tests' tables are fixed.
func (q QCOW2) Bytes() []byte {
	b, _ := q.Build()
	return b
}

// Build makes the image and tells its layout.
func (q QCOW2) Build() ([]byte, Layout) {
	if q.Version == 0 {
		q.Version = 3
	}
	if q.ClusterBits == 0 {
		q.ClusterBits = 16
	}
	if q.Size == 0 {
		q.Size = (int64(len(q.Content)) + 511) &^ 511
	}
	b := &builder{QCOW2: q, cluster: 1 << q.ClusterBits}
	return b.build(), b.layout
}

func (b *builder) build() []byte {
	span := b.cluster * b.cluster / 8
	clusters := (b.Size + b.cluster - 1) / b.cluster
	b.l1Size = (b.Size + span - 1) / span
	b.layout.L2 = make([]int64, b.l1Size)
	b.layout.Data = make([]int64, clusters)
	b.sizes = make([]int64, clusters)
	b.flags = make([]uint64, clusters)
	data := b.data()
	tables := []part{
		{clusters: 1, place: &b.layout.RefcountTable},
		{clusters: (b.l1Size*8 + b.cluster - 1) / b.cluster, place: &b.layout.L1},
	}
	for i := range b.layout.L2 {
		if b.used(int64(i)) {
			tables = append(tables, part{clusters: 1, place: &b.layout.L2[i]})
		}
	}
	return b.lay(b.arrange(tables, data))
}

// data makes a part of each cluster that is not zero.
func (b *builder) data() []part {
	var parts []part
	zeroes := 0
	for i := range b.layout.Data {
		if !b.stored(int64(i)) {
			if zeroes++; b.ZeroFlags > 0 && zeroes%b.ZeroFlags == 0 {
				b.flags[i] = 1
			}
			continue
		}
		c := make([]byte, b.cluster)
		copy(c, b.Content[int64(i)*b.cluster:])
		p := part{bytes: c, clusters: 1, place: &b.layout.Data[i]}
		if packed := b.compress(c); packed != nil {
			p.bytes, p.packed, b.sizes[i] = packed, true, int64(len(packed))
		}
		parts = append(parts, p)
	}
	return parts
}

// compress returns nil where the cluster does not shrink.
func (b *builder) compress(c []byte) []byte {
	var out []byte
	switch b.Storage {
	case Plain:
		return nil
	case Zlib:
		out = b.deflate(c)
	case Zstd:
		if b.zstd == nil {
			w, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1))
			check(err)
			b.zstd = w
		}
		out = b.zstd.EncodeAll(c, nil)
	}
	if len(out) >= len(c) {
		return nil
	}
	return out
}

func (b *builder) deflate(c []byte) []byte {
	var out bytes.Buffer
	if b.flate == nil {
		w, err := flate.NewWriter(nil, flate.DefaultCompression)
		check(err)
		b.flate = w
	}
	b.flate.Reset(&out)
	_, err := b.flate.Write(c)
	check(err)
	check(b.flate.Close())
	return out.Bytes()
}

func (b *builder) arrange(tables, data []part) []part {
	switch b.Order {
	case TablesLast:
		slices.Reverse(tables)
		return append(data, tables...)
	case Shuffled:
		all := slices.Concat(data, tables)
		rnd := rand.New(rand.NewPCG(b.Seed, 1)) //nolint:gosec // the same every time, on purpose
		rnd.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
		return all
	default:
		return append(tables, data...)
	}
}

// lay gives every part its place and writes it there.
func (b *builder) lay(parts []part) []byte {
	file := make([]byte, b.cluster)
	for _, p := range parts {
		if !p.packed {
			file = b.pad(file)
		}
		*p.place = int64(len(file))
		file = append(file, p.bytes...)
		if p.bytes == nil {
			file = append(file, make([]byte, p.clusters*b.cluster)...)
		}
	}
	file = b.pad(file)
	b.fill(file)
	return file
}

func (b *builder) pad(file []byte) []byte {
	return append(file, make([]byte, -int64(len(file))&(b.cluster-1))...)
}

// used reports whether a table maps anything.
func (b *builder) used(table int64) bool {
	n := b.cluster / 8
	for i := table * n; i < min((table+1)*n, int64(len(b.sizes))); i++ {
		if b.flags[i] != 0 || b.stored(i) {
			return true
		}
	}
	return false
}

func (b *builder) stored(i int64) bool {
	lo := min(int64(len(b.Content)), i*b.cluster)
	c := b.Content[lo:min(int64(len(b.Content)), lo+b.cluster)]
	return bytes.Count(c, []byte{0}) != len(c)
}

// fill writes the header and the tables.
func (b *builder) fill(file []byte) {
	be := binary.BigEndian
	copy(file, "QFI\xfb")
	be.PutUint32(file[4:], uint32(b.Version))
	be.PutUint32(file[20:], uint32(b.ClusterBits))
	be.PutUint64(file[24:], uint64(b.Size))
	be.PutUint32(file[36:], uint32(b.l1Size))
	be.PutUint64(file[40:], uint64(b.layout.L1))
	be.PutUint64(file[48:], uint64(b.layout.RefcountTable))
	be.PutUint32(file[56:], 1)
	if b.Version == 3 {
		be.PutUint32(file[96:], 4)
		be.PutUint32(file[100:], 112)
		if b.Storage == Zstd {
			be.PutUint64(file[72:], 8)
			file[104] = 1
		}
	}
	for i, at := range b.layout.L2 {
		if at != 0 {
			be.PutUint64(file[b.layout.L1+int64(i)*8:], uint64(at)|1<<63)
		}
	}
	n := b.cluster / 8
	for i := range int64(len(b.layout.Data)) {
		if e := b.entry(i); e != 0 {
			be.PutUint64(file[b.layout.L2[i/n]+i%n*8:], e)
		}
	}
}

func (b *builder) entry(i int64) uint64 {
	at := b.layout.Data[i]
	switch {
	case at == 0:
		return b.flags[i]
	case b.sizes[i] == 0:
		return uint64(at) | 1<<63
	}
	sectors := (at+b.sizes[i]-1)/512 - at/512
	return 1<<62 | uint64(sectors)<<(62-(b.ClusterBits-8)) | uint64(at)
}

func check(err error) {
	if err != nil {
		panic(fmt.Sprintf("diskimagetest: %v", err))
	}
}
