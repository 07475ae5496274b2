package diskimage_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"sync"
	"testing"

	"github.com/clonecache/clonecache/plugin/diskimage"
	"github.com/clonecache/clonecache/plugin/diskimage/diskimagetest"
)

// boundedTarget fails the test when something is written outside of the disk.
type boundedTarget struct {
	testing.TB
	size int64

	mu      sync.Mutex
	written int64
}

func (b *boundedTarget) WriteAt(p []byte, off int64) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if off < 0 || off+int64(len(p)) > b.size {
		b.Errorf("write of %d bytes at %d, disk of %d", len(p), off, b.size)
	}
	b.written += int64(len(p))
	return len(p), nil
}

func TestHostileImagesAreRefused(t *testing.T) {
	for _, c := range diskimagetest.Hostile() {
		for _, size := range []int64{int64(len(c.Bytes)), -1} {
			t.Run(fmt.Sprintf("%s/announced %d", c.Name, size), func(t *testing.T) {
				opts := diskimage.Options{
					Declared: c.Declared, Accept: c.Accept, AcceptCompression: c.Unpack, SourceBytes: size, MaxVirtualBytes: c.Volume, Scratch: newScratch(t),
				}
				target := &boundedTarget{TB: t, size: 1 << 30}
				r, err := diskimage.Open(t.Context(), bytes.NewReader(c.Bytes), opts)
				if c.Decoding && size >= 0 || err == nil {
					if err != nil {
						t.Fatalf("Open: %v, want it to show in Decode", err)
					}
					_, err = r.Decode(t.Context(), target, nil)
				}
				checkRule(t, err, c.Rule)
				// Of a stream of unknown length, what is beyond its end shows at its end.
				if !c.Decoding && target.written > 0 && (size >= 0 || c.Rule != diskimage.RuleTruncated) {
					t.Errorf("%d bytes written", target.written)
				}
			})
		}
	}
}

func TestInspectFileRefusesHostileImages(t *testing.T) {
	for _, c := range diskimagetest.Hostile() {
		t.Run(c.Name, func(t *testing.T) {
			opts := diskimage.Options{Declared: c.Declared, Accept: c.Accept, AcceptCompression: c.Unpack, MaxVirtualBytes: c.Volume}
			info, err := diskimage.InspectFile(t.Context(), bytes.NewReader(c.Bytes), int64(len(c.Bytes)), opts)
			if c.Stream || c.Rule == diskimage.RuleNoDecoder {
				if err != nil || info.VirtualBytes <= 0 {
					t.Errorf("got %+v, %v; want it inspected", info, err)
				}
				return
			}
			checkRule(t, err, c.Rule)
		})
	}
}

// checkRule wants a Refusal of a rule, which says everything that a person needs.
func checkRule(t *testing.T, err error, rule string) {
	t.Helper()
	var refusal *diskimage.Refusal
	if !errors.As(err, &refusal) || !errors.Is(err, diskimage.ErrRefused) {
		t.Fatalf("got %v, want a refusal by %s", err, rule)
	}
	if refusal.Rule != rule {
		t.Errorf("got %v, want rule %s", refusal, rule)
	}
	if refusal.Field == "" || refusal.Value == "" || refusal.Remedy == "" {
		t.Errorf("incomplete refusal %+v", refusal)
	}
}

func TestEveryRuleHasAHostileImage(t *testing.T) {
	covered := map[string]bool{
		diskimage.RuleRatio:           true, // unpacks a gigabyte: see TestABombEnds
		diskimage.RuleTooManyClusters: true, // needs an image of gigabytes: see TestTablesAreBoundedInMemory
	}
	for _, c := range diskimagetest.Hostile() {
		covered[c.Rule] = true
	}
	for _, r := range diskimage.Rules {
		if !covered[r.Rule] {
			t.Errorf("no hostile image for rule %s", r.Rule)
		}
		if r.Says == "" || r.Remedy == "" {
			t.Errorf("rule %s is not explained", r.Rule)
		}
	}
}

func TestRawOfUnknownLengthIsCutAtTheVolume(t *testing.T) {
	content := programBytes(t, 3<<20)
	target := &boundedTarget{TB: t, size: 2 << 20}
	r, err := diskimage.Open(t.Context(), io.MultiReader(bytes.NewReader(content)), diskimage.Options{SourceBytes: -1, MaxVirtualBytes: 2 << 20})
	if err != nil {
		t.Fatal(err)
	}
	_, err = r.Decode(t.Context(), target, nil)
	checkRule(t, err, diskimage.RuleTooLarge)
}
