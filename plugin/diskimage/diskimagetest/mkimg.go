package diskimagetest

import (
	"encoding/binary"
	"slices"
)

// Mkimg lays a disk out as FreeBSD's mkimg(1) does with -f qcow2: the first level, the reference count table,
// the second levels, the reference count blocks and the data, each of them by clusters of 64 KiB.
func Mkimg(disk []byte) []byte {
	const (
		cluster  = 64 << 10
		perTable = cluster / 8
	)
	disk = slices.Concat(disk, make([]byte, -len(disk)&(cluster-1)))
	var used []int // clusters of the disk that are not zero
	for i := range len(disk) / cluster {
		if slices.ContainsFunc(disk[i*cluster:(i+1)*cluster], func(b byte) bool { return b != 0 }) {
			used = append(used, i)
		}
	}
	tables := (len(disk)/cluster + perTable - 1) / perTable
	be := binary.BigEndian
	out := make([]byte, 3*cluster) // the header, the first level and the reference count table
	copy(out, "QFI\xfb")
	be.PutUint32(out[4:], 2)
	be.PutUint32(out[20:], 16)
	be.PutUint64(out[24:], uint64(len(disk)))
	be.PutUint32(out[36:], uint32(tables))
	be.PutUint64(out[40:], cluster)
	be.PutUint64(out[48:], 2*cluster)
	be.PutUint32(out[56:], 1)
	l2 := make(map[int]int) // where the second levels lie
	for _, i := range used {
		if _, ok := l2[i/perTable]; !ok {
			l2[i/perTable] = len(out)
			be.PutUint64(out[cluster+i/perTable*8:], uint64(len(out))|1<<63)
			out = append(out, make([]byte, cluster)...)
		}
	}
	block := len(out) // one is enough for 2 GiB
	be.PutUint64(out[2*cluster:], uint64(block))
	out = append(out, make([]byte, cluster)...)
	for _, i := range used {
		be.PutUint64(out[l2[i/perTable]+i%perTable*8:], uint64(len(out))|1<<63)
		out = append(out, disk[i*cluster:(i+1)*cluster]...)
	}
	for i := range len(out) / cluster {
		be.PutUint16(out[block+2*i:], 1)
	}
	return out
}
