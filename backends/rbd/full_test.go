//go:build ceph

package rbd

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ceph/go-ceph/rados"
	"github.com/ceph/go-ceph/rbd"

	"github.com/clonecache/clonecache/backends"
)

// ratios are what the cluster is nearly full and full at, by their flags: least first, and Ceph's own.
var ratios = []struct {
	flag string
	own  float64
}{{"nearfull", .85}, {"backfillfull", .90}, {"full", .95}}

// lower lets the OSD count as full from the first bytes on; the test's end undoes it.
func lower(t *testing.T, flag string, own float64) (undo func()) {
	t.Helper()
	set := func(ratio float64) { askMons(t, "osd set-"+flag+"-ratio", map[string]any{"ratio": ratio}) }
	undo = func() { set(own) }
	t.Cleanup(func() {
		undo()
		poolFlags(t, flag, false) // the next test has room again
	})
	set(1e-6)
	return undo
}

// poolFlags waits until the OSD has told, the mon has flagged all pools accordingly, and the OSD knows of that.
func poolFlags(t *testing.T, flag string, want bool) {
	t.Helper()
	for began := time.Now(); time.Since(began) < 5*time.Minute; {
		var dump struct {
			Pools []struct {
				Flags string `json:"flags_names"`
			} `json:"pools"`
		}
		if err := json.Unmarshal(askMons(t, "osd dump", map[string]any{"format": "json"}), &dump); err != nil {
			t.Fatal(err)
		}
		flagged := 0
		for _, p := range dump.Pools {
			if slices.Contains(strings.Split(p.Flags, ","), flag) {
				flagged++
			}
		}
		if want && flagged == len(dump.Pools) || !want && flagged == 0 {
			everywhere(t)
			return
		}
	}
	t.Fatalf("the pool's flag %s does not become %t", flag, want)
}

// groupsAsked is how many objects are asked for so that one lies in each of a pool's 32 placement groups: one may be missed in a
// million times.
const groupsAsked = 512

// everywhere waits until each placement group has the mon's newest map: what comes from a client that has it waits for that.
func everywhere(t *testing.T) {
	t.Helper()
	conn := adminConn(t)
	if err := conn.WaitForLatestOSDMap(); err != nil {
		t.Fatal(err)
	}
	for _, pool := range []string{"volumes", "images"} {
		io, err := conn.OpenIOContext(pool)
		if err != nil {
			t.Fatal(err)
		}
		for n := range groupsAsked {
			if _, err := io.Stat(fmt.Sprintf("none-%d", n)); !errors.Is(err, rados.ErrNotFound) {
				t.Fatalf("an object that is not there: %v", err)
			}
		}
		io.Destroy()
	}
}

// setFull makes the cluster full, and returns what ends that.
func setFull(t *testing.T) (room func()) {
	t.Helper()
	var undo []func()
	for _, r := range ratios {
		undo = append(undo, lower(t, r.flag, r.own))
	}
	poolFlags(t, "full", true)
	return func() {
		for _, u := range slices.Backward(undo) {
			u()
		}
		poolFlags(t, "full", false)
	}
}

// The cluster becomes full under a fill and under clones: they end soon, with the reason, and what there
// is can be removed.
func TestAClusterThatBecomesFull(t *testing.T) {
	const timeout = 5 * time.Second
	b := openBackend(t, config(t))
	commitImage(t, b, "e-1", 8<<20)
	if _, err := b.Clone(t.Context(), "e-1", specOf("before", "t")); err != nil {
		t.Fatal(err)
	}
	st, err := b.Stage(t.Context(), backends.StageSpec{ID: "e-2", VirtualBytes: 32 << 20})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := st.WriteAt(make([]byte, 4096), 0); err != nil {
		t.Fatal(err)
	}
	room := setFull(t)
	usual := b.config.Timeout
	b.config.Timeout = timeout // while there is no room; a busy machine may take longer for an answer
	began := time.Now()
	wantFull := func(does string, err error) {
		t.Helper()
		if !errors.Is(err, backends.ErrNoSpace) && !errors.Is(err, backends.ErrUnavailable) {
			t.Errorf("%s: got error %v, want %v or %v", does, err, backends.ErrNoSpace, backends.ErrUnavailable)
		}
		t.Logf("%s: %v after %v", does, err, time.Since(began))
	}
	for err == nil { // until the OSD has the new map
		_, err = st.WriteAt(make([]byte, piece), 8<<20)
	}
	wantFull("write", err)
	_, err = st.Commit(t.Context(), backends.Description{EntryID: "e"})
	wantFull("commit", err)
	_, err = b.Stage(t.Context(), backends.StageSpec{ID: "e-3", VirtualBytes: 1 << 20})
	wantFull("stage", err)
	_, err = b.Clone(t.Context(), "e-1", specOf("during", "t"))
	wantFull("clone", err)
	_, err = b.CreateVolume(t.Context(), specOf("blank", "t"))
	wantFull("create", err)
	if err := b.DeleteVolume(t.Context(), backends.VolumeRef{Name: "before"}); err != nil {
		t.Errorf("delete: %v", err)
	}
	if r, err := b.Retire(t.Context(), "e-1"); err != nil || !r.Gone {
		t.Errorf("retire: got %+v, %v", r, err)
	}
	if err := st.Discard(t.Context()); err != nil {
		t.Errorf("discard: %v", err)
	}
	if took := time.Since(began); took > 20*timeout {
		t.Errorf("all of that took %v", took)
	}
	b.config.Timeout = usual
	room()
	if got := settleSoon(t, b, specOf("during", "t")); got == backends.Whole {
		t.Errorf("the clone is %v", got)
	}
	if rest := imagesOf(t, b); len(rest) > 0 {
		t.Errorf("images are left: %q", rest)
	}
	wantNoImageVolumes(t, b)
	if names, err := rbd.GetImageNames(b.strangersImages()); err != nil || len(names) > 0 {
		t.Errorf("images are left: %q, %v", names, err)
	}
}

// What the OSDs report against the ratios is looked at before anything is staged.
func TestRatiosAreLookedAt(t *testing.T) {
	b := openBackend(t, config(t))
	commitImage(t, b, "e-0", 8<<20)
	for _, r := range ratios {
		lower(t, r.flag, r.own)
		poolFlags(t, r.flag, true)
		_, err := b.Stage(t.Context(), backends.StageSpec{ID: "e-1", VirtualBytes: 1 << 20})
		if !errors.Is(err, backends.ErrNoSpace) || !strings.Contains(err.Error(), "pool images is "+r.flag) {
			t.Errorf("%s: got error %v", r.flag, err)
		}
	}
}
