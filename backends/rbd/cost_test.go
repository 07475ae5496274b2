//go:build ceph

package rbd

import (
	"encoding/json"
	"fmt"
	"testing"

	"github.com/clonecache/clonecache/backends"
)

// Opening, listing, reaping and settling ask the OSDs as often among many volumes of others as alone.
func TestWhatForeignVolumesCost(t *testing.T) {
	c := config(t)
	c.ImageVolumePool = c.Pool
	b := openBackend(t, c)
	for i := range 3 {
		commitImage(t, b, backends.ImageVolumeID(fmt.Sprint("e-", i)), 8<<20)
	}
	if _, err := b.Clone(t.Context(), "e-0", specOf("v", "t")); err != nil {
		t.Fatal(err)
	}
	alone := opsOfAStart(t, c)
	const foreign = 300
	io := b.strangers()
	for i := range foreign {
		createImage(t, io, fmt.Sprint("volume-", i))
	}
	among := opsOfAStart(t, c)
	t.Logf("a start, a listing, a reaping and a settling take %d operations of the OSD, and %d among %d foreign volumes", alone, among, foreign)
	if among > alone+alone/4 {
		t.Errorf("%d operations among %d foreign volumes, %d without them", among, foreign, alone)
	}
}

// opsOfAStart counts what the OSD does for one.
func opsOfAStart(t *testing.T, c Config) int {
	t.Helper()
	before := osdOps(t)
	b := openBackend(t, c)
	for _, err := range b.ListImageVolumes(t.Context()) {
		if err != nil {
			t.Error(err)
		}
	}
	if _, err := b.Reap(t.Context()); err != nil {
		t.Error(err)
	}
	for _, name := range []string{"v", "nothing"} {
		if _, err := b.Settle(t.Context(), specOf(name, "t")); err != nil {
			t.Error(err)
		}
	}
	return osdOps(t) - before
}

// osdOps is how many operations of clients the OSD has done.
func osdOps(t *testing.T) int {
	t.Helper()
	answer, text, err := adminConn(t).OsdCommand(0, [][]byte{[]byte(`{"prefix":"perf dump","logger":"osd","format":"json"}`)})
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	var dump struct {
		OSD struct {
			Ops int `json:"op"`
		} `json:"osd"`
	}
	if err := json.Unmarshal(answer, &dump); err != nil {
		t.Fatal(err)
	}
	return dump.OSD.Ops
}
