package plugin

import (
	"bytes"
	"testing"

	"pgregory.net/rapid"
)

// sumInPieces sums up a disk written in pieces of whole blocks, in any order, with any zeroes left out.
func sumInPieces(t *rapid.T, disk []byte) string {
	var sum contentSum
	type piece struct{ from, to int }
	var pieces []piece
	for from := 0; from < len(disk); {
		to := min(len(disk), from+sumBlock*rapid.IntRange(1, 4).Draw(t, "blocks"))
		if bytes.Count(disk[from:to], []byte{0}) != to-from || rapid.Bool().Draw(t, "written") {
			pieces = append(pieces, piece{from, to})
		}
		from = to
	}
	for _, p := range rapid.Permutation(pieces).Draw(t, "order") {
		sum.add(disk[p.from:p.to], int64(p.from), int64(len(disk)))
	}
	return sum.String()
}

func drawDisk(t *rapid.T) []byte {
	disk := make([]byte, rapid.IntRange(0, 6*sumBlock).Draw(t, "size"))
	for range rapid.IntRange(0, 8).Draw(t, "bytes") {
		if len(disk) > 0 {
			disk[rapid.IntRange(0, len(disk)-1).Draw(t, "at")] = rapid.Byte().Draw(t, "byte")
		}
	}
	return disk
}

func TestAContentSumIsOfTheContentAlone(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		disk := drawDisk(t)
		want, err := readSum(t.Context(), bytes.NewReader(disk), int64(len(disk)))
		if err != nil {
			t.Fatal(err)
		}
		if got := sumInPieces(t, disk); got != want {
			t.Fatalf("in pieces %s, read %s", got, want)
		}
		other := drawDisk(t)
		got := sumInPieces(t, other)
		if len(disk) == len(other) && bytes.Equal(disk, other) != (got == want) {
			t.Fatalf("of another content %s, of this %s", got, want)
		}
	})
}

func TestAContentSumKnowsWhereABlockStands(t *testing.T) {
	disk := make([]byte, 4*sumBlock)
	copy(disk, bytes.Repeat([]byte{1}, sumBlock))
	copy(disk[sumBlock:], bytes.Repeat([]byte{2}, sumBlock))
	sums := make(map[string]bool)
	for range 4 {
		sum, err := readSum(t.Context(), bytes.NewReader(disk), int64(len(disk)))
		if err != nil || sums[sum] {
			t.Errorf("%s, %v: a sum that was there before", sum, err)
		}
		sums[sum] = true
		disk = append(disk[sumBlock:], disk[:sumBlock]...)
	}
}

func TestAContentSumIsUnknownWhereBlocksAreTorn(t *testing.T) {
	for _, test := range []struct {
		name            string
		off, size, disk int64
		known           bool
	}{
		{"whole blocks", sumBlock, 2 * sumBlock, 9 * sumBlock, true},
		{"the disk's last one", sumBlock, sumBlock + 7, 2*sumBlock + 7, true},
		{"begins within one", 512, sumBlock, 9 * sumBlock, false},
		{"ends within one", sumBlock, 512, 9 * sumBlock, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			var sum contentSum
			sum.add(bytes.Repeat([]byte{1}, int(test.size)), test.off, test.disk)
			sum.add(make([]byte, sumBlock), 0, test.disk)
			if known := sum.String() != ""; known != test.known {
				t.Errorf("got %q", sum.String())
			}
		})
	}
}

func TestTooLittleHasNoContentSum(t *testing.T) {
	if sum, err := readSum(t.Context(), bytes.NewReader(make([]byte, 10)), 11); err == nil {
		t.Errorf("of too little: %s", sum)
	}
}
