package cinder_test

import (
	"context"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/backends/cinder"
	"github.com/clonecache/clonecache/backends/cinder/cindertest"
	"github.com/clonecache/clonecache/internaltenant/keystone"
	"github.com/clonecache/clonecache/plugin/words"
)

const ownCatalog = "c1"

// opened is a backend on a fake Cinder, of one catalog; another one on the same Cinder is another process.
func opened(t *testing.T, f *cindertest.Cinder, catalog backends.CatalogID, change func(*cinder.Config)) *cinder.Backend {
	t.Helper()
	c := cinder.Config{Name: "lvm", Account: f.Account(t), VolumeType: cindertest.Type, Pause: time.Millisecond, Patience: time.Minute, FillTime: time.Minute}
	if change != nil {
		change(&c)
	}
	b, err := cinder.Open(c)
	if err == nil {
		err = b.HoldFor(t.Context(), backends.Holder{Catalog: catalog})
	}
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// claimed is a volume as the internal tenant has Cinder fill it.
func claimed(f *cindertest.Cinder, id, generation string) backends.VolumeName {
	v := &cindertest.Volume{
		ID: id, Size: 1, Status: "downloading", TypeID: cindertest.TypeID, ImageRef: "i",
		Metadata: map[string]string{"clonecache_catalog": ownCatalog, "clonecache_entry_id": "e", "clonecache_place": f.Place},
	}
	if generation != "" {
		v.Metadata["clonecache_generation"] = generation
	}
	f.With(func() { f.Volumes[id] = v })
	return backends.VolumeName("volume-" + id)
}

var about = backends.Description{
	EntryID: "e", Attempt: 1, ContentKey: words.Key("k"), ImageIDs: []string{"glance:" + strings.Repeat("ä", 400)},
	Content: backends.Content{Digest: "sha512:" + strings.Repeat("0", 128), DiskFormat: "qcow2", VirtualBytes: 1 << 30},
}

// committed is image-volume iv, of volume g1.
func committed(t *testing.T, f *cindertest.Cinder, b *cinder.Backend) {
	t.Helper()
	stage, err := b.Stage(t.Context(), backends.StageSpec{ID: "iv", VirtualBytes: 1 << 30, Adopt: claimed(f, "g1", "")})
	if err == nil {
		err = b.Fill(t.Context(), stage, func(int64) {})
	}
	if err == nil {
		_, err = stage.Commit(t.Context(), about)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func listed(t *testing.T, b *cinder.Backend) []backends.ImageVolume {
	t.Helper()
	var all []backends.ImageVolume
	for iv, err := range b.ListImageVolumes(t.Context()) {
		if err != nil {
			t.Error(err)
		}
		all = append(all, iv)
	}
	return all
}

func is(t *testing.T, what string, got, want error) {
	t.Helper()
	if !errors.Is(got, want) || want == nil && got != nil {
		t.Errorf("%s: got %v, want %v", what, got, want)
	}
}

// Somebody renames the volume type: volumes are of it all the same, and a daemon that learns the new name has the same store.
func TestAVolumeTypeIsHeldByItsID(t *testing.T) {
	f := cindertest.New(t)
	b := opened(t, f, ownCatalog, nil)
	committed(t, f, b)
	before, err := b.Identify(t.Context())
	is(t, "identify", err, nil)
	if id, former := string(before.ID), string(before.Former); !strings.HasSuffix(id, ":"+cindertest.TypeID) || former != strings.TrimSuffix(id, cindertest.TypeID)+cindertest.Type {
		t.Errorf("store %s, by its former ID %s, which ended with the type's name", id, former)
	}
	f.With(func() { f.Types[cindertest.TypeID] = "gold" })
	if all := listed(t, b); len(all) != 1 {
		t.Errorf("the type was renamed meanwhile: %+v, want one image-volume", all)
	}
	again := opened(t, f, ownCatalog, func(c *cinder.Config) { c.VolumeType = "gold" })
	after, err := again.Identify(t.Context())
	if all := listed(t, again); err != nil || after.ID != before.ID || len(all) != 1 {
		t.Errorf("configured by the new name: store %s with %+v, %v; want store %s with one image-volume", after.ID, all, err, before.ID)
	}
	_, err = opened(t, f, ownCatalog, nil).Identify(t.Context())
	is(t, "configured by the former name", err, backends.ErrUnavailable)
	if err == nil || !strings.Contains(err.Error(), "gold") || !strings.Contains(err.Error(), "volume_type") {
		t.Errorf("the error does not say what helps: %v", err)
	}
}

func TestAnImageVolumeIsWhatItsMetadataSays(t *testing.T) {
	f := cindertest.New(t)
	f.With(func() { f.Page = 1 })
	b := opened(t, f, ownCatalog, nil)
	stage, err := b.Stage(t.Context(), backends.StageSpec{ID: "iv", VirtualBytes: 1 << 30, Adopt: claimed(f, "g1", "")})
	is(t, "stage", err, nil)
	if all := listed(t, b); len(all) != 1 || all[0].State != backends.Staged {
		t.Errorf("while Cinder fills it: %+v", all)
	}
	_, err = b.Lend(t.Context(), "iv", "")
	is(t, "lend what is not committed", err, backends.ErrNotExist)
	is(t, "fill", b.Fill(t.Context(), stage, func(int64) {}), nil)
	iv, err := stage.Commit(t.Context(), about)
	if err != nil || iv.State != backends.Committed || iv.HeldBytes != 1<<30 || iv.VirtualBytes != 1<<30 {
		t.Fatalf("committed: %+v, %v", iv, err)
	}
	is(t, "discard after the commit", stage.Discard(t.Context()), nil)

	after := opened(t, f, ownCatalog, nil) // a process that knows nothing
	all := listed(t, after)
	if len(all) != 1 || all[0].State != backends.Committed || all[0].Description.ImageIDs[0] != about.ImageIDs[0] || all[0].Description.Digest != about.Digest {
		t.Errorf("after a restart: %+v", all)
	}
	if others := listed(t, opened(t, f, "c2", nil)); len(others) != 0 {
		t.Errorf("another installation sees %+v", others)
	}
	for _, b := range []*cinder.Backend{b, after} {
		lent, err := b.Lend(t.Context(), "iv", "host@lvm#pool")
		if err != nil || lent.Generation != "g1" || lent.Place != "host@lvm#pool" {
			t.Errorf("lent: %+v, %v", lent, err)
		}
	}
}

func TestWhatIsNotOursIsNotAdopted(t *testing.T) {
	f := cindertest.New(t)
	b := opened(t, f, ownCatalog, nil)
	stage := func(adopt backends.VolumeName) error {
		_, err := b.Stage(t.Context(), backends.StageSpec{ID: "iv", VirtualBytes: 1, Adopt: adopt})
		return err
	}
	is(t, "none", stage(""), backends.ErrCannotClone)
	is(t, "one that is not there", stage("volume-none"), backends.ErrNotExist)
	foreign := claimed(f, "foreign", "")
	f.With(func() { f.Volumes["foreign"].Metadata["clonecache_catalog"] = "c2" })
	is(t, "another catalog's", stage(foreign), backends.ErrNotOurs)
	taken := claimed(f, "taken", "")
	is(t, "ours", stage(taken), nil)
	is(t, "twice", stage(taken), backends.ErrExist)
	if v := f.All()[0]; v.ID != "foreign" || v.Metadata["clonecache_image_volume"] != "" {
		t.Errorf("the foreign one is %+v", v)
	}
}

func TestGenerationsAreLentInTurnAndGoTogether(t *testing.T) {
	f, now := cindertest.New(t), time.Now()
	b := opened(t, f, ownCatalog, func(c *cinder.Config) { c.Now = func() time.Time { return now } })
	committed(t, f, b)
	ctx := t.Context()
	lend := func(want backends.GenerationID, wantErr error) {
		t.Helper()
		lent, err := b.Lend(ctx, "iv", "")
		is(t, "lend", err, wantErr)
		if lent.Generation != want {
			t.Errorf("lent %q, want %q", lent.Generation, want)
		}
	}
	lend("g1", nil)
	_, err := b.Next(ctx, "iv")
	is(t, "another one is not needed", err, backends.ErrExist)
	b.Returned("iv", "g1", backends.Full)
	lend("", backends.ErrLimit)
	if n, err := b.Next(ctx, "iv"); err != nil || n != 2 {
		t.Errorf("next: %d, %v", n, err)
	}
	iv, err := b.Grow(ctx, "iv", claimed(f, "g2", "2"))
	if err != nil || iv.HeldBytes != 2<<30 || iv.State != backends.Committed {
		t.Errorf("grown: %+v, %v", iv, err)
	}
	lend("g2", nil)
	now = now.Add(10 * time.Minute) // clones of the first one may be gone
	lend("g1", nil)

	retired, err := b.Retire(ctx, "iv")
	if err != nil || !retired.Gone || retired.FreedBytes != 2<<30 {
		t.Errorf("retired: %+v, %v", retired, err)
	}
	lend("", backends.ErrNotExist)
	if all := f.All(); len(all) != 1 || all[0].ID != "g1" || all[0].Metadata["clonecache_image_volume"] != "" {
		t.Errorf("Cinder has %+v, want the claim's own volume without our mark", all)
	}
	_, err = b.Retire(ctx, "iv")
	is(t, "retire again", err, backends.ErrNotExist)
}

// A driver that does not delete what has clones: the image-volume is lent to nobody, and is retired later.
func TestARetireThatTheDriverRefusesIsRepeated(t *testing.T) {
	f := cindertest.New(t)
	b := opened(t, f, ownCatalog, nil)
	committed(t, f, b)
	_, err := b.Grow(t.Context(), "iv", claimed(f, "g2", "2"))
	is(t, "grow", err, nil)
	f.With(func() { f.Busy = map[string]bool{"g2": true} })
	_, err = b.Retire(t.Context(), "iv")
	is(t, "retire", err, backends.ErrInUse)
	_, err = b.Lend(t.Context(), "iv", "")
	is(t, "lend", err, backends.ErrNotExist)
	if all := listed(t, b); len(all) != 1 || all[0].State != backends.Staged || all[0].HeldBytes != 2<<30 {
		t.Errorf("listed: %+v", all)
	}
	f.With(func() { f.Busy = nil })
	retired, err := b.Retire(t.Context(), "iv")
	if err != nil || !retired.Gone {
		t.Errorf("retire later: %+v, %v", retired, err)
	}
}

func TestAPlaceIsComparedAsFarAsTheDriverClones(t *testing.T) {
	for across, want := range map[cinder.Across]map[backends.Place]error{
		cinder.WithinPool:    {"": nil, "host@lvm#pool": nil, "host@lvm#other": backends.ErrElsewhere, "host@nfs#pool": backends.ErrElsewhere},
		cinder.WithinBackend: {"": nil, "host@lvm#pool": nil, "host@lvm#other": nil, "host@nfs#pool": backends.ErrElsewhere},
	} {
		f := cindertest.New(t)
		b := opened(t, f, ownCatalog, func(c *cinder.Config) { c.Across = across })
		committed(t, f, b)
		for place, wanted := range want {
			_, err := b.Lend(t.Context(), "iv", place)
			is(t, string(across)+": "+string(place), err, wanted)
		}
	}
}

func TestAVolumeThatDidNotBecomeWholeIsSettled(t *testing.T) {
	f := cindertest.New(t)
	b := opened(t, f, ownCatalog, nil)
	committed(t, f, b)
	spec := backends.VolumeSpec{Name: "mine", SizeBytes: 1 << 30, Token: "t", Origin: backends.Origin{EntryID: "e", ImageID: "glance:i"}}
	settled, err := b.Settle(t.Context(), spec)
	if err != nil || settled != backends.Absent {
		t.Errorf("before: %v, %v", settled, err)
	}
	v, err := b.Clone(t.Context(), "iv", spec)
	if err != nil || v.Name != "mine" || v.Origin != spec.Origin || !v.Complete {
		t.Fatalf("cloned: %+v, %v", v, err)
	}
	_, err = b.Clone(t.Context(), "iv", spec)
	is(t, "clone to the same name", err, backends.ErrExist)
	for _, status := range []string{"available", "in-use"} {
		f.With(func() { f.Volumes[string(v.ID)].Status = status })
		if settled, err := b.Settle(t.Context(), spec); err != nil || settled != backends.Whole {
			t.Errorf("%s: %v, %v", status, settled, err)
		}
	}
	is(t, "delete what is attached", b.DeleteVolume(t.Context(), backends.VolumeRef{Name: "mine"}), backends.ErrInUse)
	f.With(func() { f.Volumes[string(v.ID)].Status = "creating"; f.Making = 1000 })
	_, err = b.Settle(t.Context(), spec)
	is(t, "while Cinder makes it", err, backends.ErrUnavailable)
	f.With(func() { f.Volumes[string(v.ID)].Status = "error" })
	if settled, err := b.Settle(t.Context(), spec); err != nil || settled != backends.Removed {
		t.Errorf("in error: %v, %v", settled, err)
	}
	is(t, "delete it", b.DeleteVolume(t.Context(), backends.VolumeRef{Name: "mine"}), backends.ErrNotExist)
}

// A Cinder that hangs is one that does not answer: it is not the caller whose time is over. What it had been asked for may be made still.
func TestACinderThatHangsIsUnavailable(t *testing.T) {
	f := cindertest.New(t)
	file := filepath.Join(t.TempDir(), "password")
	is(t, "write the password", os.WriteFile(file, []byte("secret"), 0o600), nil)
	hasty, err := keystone.New(keystone.Config{AuthURL: f.URL, User: "owner", Project: "cache", PasswordFile: file, Timeout: 3 * time.Second})
	is(t, "account", err, nil)
	b := opened(t, f, ownCatalog, func(c *cinder.Config) { c.Account = hasty })
	_, err = b.StatVolume(t.Context(), "v")
	is(t, "while it answers", err, backends.ErrNotExist)
	f.With(func() { _, err = b.StatVolume(t.Context(), "v") })
	is(t, "while it hangs", err, backends.ErrUnavailable)
	over, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	f.With(func() { _, err = b.StatVolume(over, "v") })
	if !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, backends.ErrUnavailable) {
		t.Errorf("in no time: %v, want that the time is over", err)
	}
}

// Who goes while Cinder answers leaves no volume, of which nobody would know.
func TestAClientThatGoesWhileAVolumeIsMadeLeavesNone(t *testing.T) {
	f := cindertest.New(t)
	b := opened(t, f, ownCatalog, nil)
	committed(t, f, b)
	before := len(f.All())
	ctx, cancel := context.WithCancel(t.Context())
	f.With(func() {
		f.Made = func(r *http.Request) {
			cancel()
			select { // a client that breaks off has done so by then
			case <-r.Context().Done():
			case <-time.After(100 * time.Millisecond):
			}
		}
	})
	_, err := b.Clone(ctx, "iv", backends.VolumeSpec{Name: "v", SizeBytes: 1 << 30, Token: "attempt"})
	is(t, "clone", err, context.Canceled)
	if after := len(f.All()); after != before {
		t.Errorf("%d volumes are left, want %d", after, before)
	}
}
