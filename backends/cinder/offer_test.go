package cinder_test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/backends/cinder/cindertest"
	"github.com/clonecache/clonecache/lru"
	"github.com/clonecache/clonecache/plugin"
	"github.com/clonecache/clonecache/plugin/catalog"
)

// transferred asks for a volume that another project is to take over.
func transferred(name string) plugin.Request {
	return plugin.Request{Backend: "lvm", Image: "library:debian.raw", Volume: backends.VolumeName(name), SizeBytes: 1 << 30, Transfer: true}
}

func offered(t *testing.T, c *cloud, r plugin.Request) plugin.Answer {
	t.Helper()
	a, err := c.CreateVolume(t.Context(), r)
	if err != nil || a.Transfer == nil || a.Transfer.ID == "" || len(a.Transfer.Key) == 0 {
		t.Fatalf("got %+v, %v, want a volume and what takes it over", a, err)
	}
	return a
}

func accept(t *testing.T, c *cloud, a plugin.Answer) cindertest.Volume {
	t.Helper()
	v, err := c.cinder.Accept(a.Transfer.ID, string(a.Transfer.Key))
	if err != nil {
		t.Error(err)
	}
	return v
}

// made counts the volumes of the internal tenant that are no image-volumes.
func (c *cloud) made() (n int) {
	for _, v := range c.cinder.All() {
		if v.Source != "" {
			n++
		}
	}
	return n
}

// A volume is offered to whoever asks for it, and is theirs once they accept: the daemon has it no more.
func TestAVolumeIsTransferred(t *testing.T) {
	c := newCloud(t, lru.Bounds{}, nil)
	a := offered(t, c, transferred("mine"))
	if v := accept(t, c, a); v.ID != string(a.VolumeID) || v.Size != 1 || v.Source == "" {
		t.Errorf("accepted %+v, want volume %s", v, a.VolumeID)
	}
	all, err := c.ListVolumes(t.Context(), "lvm")
	if err != nil || len(all) != 0 {
		t.Errorf("listed %+v, %v, want none", all, err)
	}
	if err := c.DeleteVolume(t.Context(), "lvm", "mine"); !errors.Is(err, backends.ErrNotExist) {
		t.Errorf("delete: %v", err)
	}
	if next := offered(t, c, transferred("mine")); next.VolumeID == a.VolumeID {
		t.Errorf("the name is free, and the next volume is %s again", next.VolumeID)
	}
}

// Who repeats a request has not had its answer: another offer takes the earlier one's place.
func TestARepeatedRequestIsOfferedAnew(t *testing.T) {
	c := newCloud(t, lru.Bounds{}, nil)
	first := offered(t, c, transferred("mine"))
	second := offered(t, c, transferred("mine"))
	if second.Reason != plugin.ReasonRepeated || second.VolumeID != first.VolumeID || second.Transfer.Key == first.Transfer.Key || c.cinder.Offered() != 1 {
		t.Errorf("first %+v, repeated %+v; %d offers", first, second, c.cinder.Offered())
	}
	if _, err := c.cinder.Accept(first.Transfer.ID, string(first.Transfer.Key)); err == nil {
		t.Error("the earlier offer still takes the volume over")
	}
	accept(t, c, second)
}

// A volume that was offered is deleted as any other, and its offer with it; what was told to somebody stays over a restart.
func TestAnOfferedVolumeIsDeletedOnlyWhenAskedFor(t *testing.T) {
	c := newCloud(t, lru.Bounds{}, nil)
	a := offered(t, c, transferred("mine"))
	c.reopen(t, func(*plugin.Config) {})
	if _, err := c.Check(t.Context(), plugin.CheckOptions{Repair: true}); err != nil {
		t.Error(err)
	}
	all, err := c.ListVolumes(t.Context(), "lvm")
	if err != nil || len(all) != 1 || !all[0].Complete || all[0].Kept != "" || c.cinder.Offered() != 1 {
		t.Errorf("after a restart: %+v, %v, %d offers of %s", all, err, c.cinder.Offered(), a.VolumeID)
	}
	if err := c.DeleteVolume(t.Context(), "lvm", "mine"); err != nil || c.made() != 0 || c.cinder.Offered() != 0 {
		t.Errorf("delete: %v; %d volumes, %d offers are left", err, c.made(), c.cinder.Offered())
	}
}

// Of an answer that reaches nobody, neither the volume nor its offer stays; nor where there can be no offer, or the process
// dies on either side of it.
func TestAVolumeThatNobodyWasOfferedGoes(t *testing.T) {
	for name, do := range map[string]func(*testing.T, *cloud){
		"undelivered": func(t *testing.T, c *cloud) {
			r := transferred("mine")
			r.Deliver = func(plugin.Answer) error { return errors.New("nobody listens") }
			wantBypassed(t, c, r, plugin.ReasonUndelivered)
		},
		"refused": func(t *testing.T, c *cloud) {
			c.cinder.With(func() { c.cinder.NoTransfers = true })
			wantBypassed(t, c, transferred("mine"), plugin.ReasonUnavailable)
		},
		"a crash before the offer": func(t *testing.T, c *cloud) { dieAndSettle(t, c, false) },
		"a crash after the offer":  func(t *testing.T, c *cloud) { dieAndSettle(t, c, true) },
	} {
		t.Run(name, func(t *testing.T) {
			c := newCloud(t, lru.Bounds{}, nil)
			do(t, c)
			if c.made() != 0 || c.cinder.Offered() != 0 {
				t.Errorf("%d volumes and %d offers are left", c.made(), c.cinder.Offered())
			}
		})
	}
}

func wantBypassed(t *testing.T, c *cloud, r plugin.Request, reason plugin.Reason) {
	t.Helper()
	a, err := c.CreateVolume(t.Context(), r)
	if err != nil || a.Outcome != plugin.Bypassed || a.Reason != reason || a.Transfer != nil {
		t.Errorf("got %+v, %v, want bypassed, %s", a, err, reason)
	}
}

// dieAndSettle does at the backend what a process does that dies, and then what the next one does for a volume of which
// certainly nobody was told.
func dieAndSettle(t *testing.T, c *cloud, offers bool) {
	t.Helper()
	ctx, b := t.Context(), opened(t, c.cinder, ownCatalog, nil)
	committed(t, c.cinder, b)
	spec := backends.VolumeSpec{Name: "mine", SizeBytes: 1 << 30, Token: "attempt"}
	v, err := b.Clone(ctx, "iv", spec)
	if err == nil && offers {
		_, err = b.Offer(ctx, backends.VolumeRef{Name: v.Name, ID: v.ID}, "")
	}
	if err != nil {
		t.Fatal(err)
	}
	after := opened(t, c.cinder, ownCatalog, nil)
	if settled, err := after.Settle(ctx, spec); err != nil || settled != backends.Whole {
		t.Errorf("settle: %v, %v", settled, err)
	}
	is(t, "remove", after.DeleteVolume(ctx, backends.VolumeRef{Name: v.Name, ID: v.ID}), nil)
}

// Who accepts while the volume is being taken back has it: nothing is deleted any more.
func TestAVolumeThatWasAcceptedIsNotTakenBack(t *testing.T) {
	c := newCloud(t, lru.Bounds{}, nil)
	r := transferred("mine")
	var taken cindertest.Volume
	r.Deliver = func(a plugin.Answer) error {
		taken = accept(t, c, a)
		return errors.New("the connection broke behind the answer")
	}
	wantBypassed(t, c, r, plugin.ReasonUndelivered)
	c.cinder.With(func() {
		if slices.Contains(c.cinder.Calls, "DELETE volumes/"+taken.ID) {
			t.Errorf("Cinder was asked to delete volume %s of another project", taken.ID)
		}
	})
}

// Who accepts while the offer is being withdrawn has the volume, though the daemon's account administers the cloud and so sees
// other projects' volumes: it is neither deleted nor offered to anybody else.
func TestAVolumeThatWasAcceptedMeanwhileIsTheirs(t *testing.T) {
	for name, do := range map[string]func(*cloud) error{
		"delete": func(c *cloud) error { return c.DeleteVolume(t.Context(), "lvm", "mine") },
		"offer": func(c *cloud) error {
			if next := offered(t, c, transferred("mine")); next.Reason == plugin.ReasonRepeated { // the name is free
				t.Errorf("repeated: %+v", next)
			}
			return nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCloud(t, lru.Bounds{}, nil)
			a := offered(t, c, transferred("mine"))
			c.cinder.With(func() { c.cinder.AcceptFirst, c.cinder.Admin = true, true })
			is(t, name, do(c), nil)
			c.cinder.With(func() {
				if v := c.cinder.Volumes[string(a.VolumeID)]; v == nil || v.Status != "available" {
					t.Errorf("their volume is %+v, want it as it was", v)
				}
			})
		})
	}
}

// Of two hosts that are asked for one volume, where one is held up for longer than its lease, neither makes void what the other has told
// somebody.
func TestTwoHostsOfferAVolumeOnce(t *testing.T) {
	for name, second := range map[string]func(t *testing.T, r plugin.Request, a, b *cloud, late func()) plugin.Answer{
		"it is offered while another host is about to make it": func(t *testing.T, r plugin.Request, a, b *cloud, late func()) (told plugin.Answer) {
			r.Progress = func(p plugin.Progress) {
				if p.Phase == "cloning" {
					late()
					told = offered(t, b, transferred("mine"))
				}
			}
			_, err := a.CreateVolume(t.Context(), r)
			is(t, "the later offer", err, plugin.ErrOffered)
			return told
		},
		"it is offered anew while another host takes it back": func(t *testing.T, r plugin.Request, a, b *cloud, late func()) (told plugin.Answer) {
			r.Deliver = func(plugin.Answer) error {
				late()
				told = offered(t, b, transferred("mine"))
				return errors.New("nobody listens")
			}
			wantBypassed(t, a, r, plugin.ReasonUndelivered)
			return told
		},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "shared.db")
			hosts := newClouds(t, 2, path, time.Hour)
			for i, h := range hosts {
				offered(t, h, transferred(fmt.Sprintf("first-%d", i)))
			}
			told := second(t, transferred("mine"), hosts[0], hosts[1], func() { loseDuty(t, path, catalog.DutyMake) })
			if v := accept(t, hosts[1], told); v.ID != string(told.VolumeID) {
				t.Errorf("accepted %+v, want %s", v, told.VolumeID)
			}
		})
	}
}

// Cinder tells of so many transfers at most; those of other volumes hide none.
func TestAnOfferIsFoundAmongMany(t *testing.T) {
	c := newCloud(t, lru.Bounds{}, nil)
	offered(t, c, transferred("other"))
	c.cinder.With(func() { c.cinder.MostTransfers = 1 })
	first := offered(t, c, transferred("mine"))
	if second := offered(t, c, transferred("mine")); second.VolumeID != first.VolumeID || c.cinder.Offered() != 2 {
		t.Errorf("first %+v, repeated %+v; %d offers", first, second, c.cinder.Offered())
	}
	is(t, "delete", c.DeleteVolume(t.Context(), "lvm", "mine"), nil)
	if c.cinder.Offered() != 1 {
		t.Errorf("%d offers are left, want that of the other volume", c.cinder.Offered())
	}
}

func TestWhatCannotBeTransferredIsRefused(t *testing.T) {
	c := newCloud(t, lru.Bounds{}, nil)
	r := transferred("mine")
	r.Lend = true
	_, err := c.CreateVolume(t.Context(), r)
	is(t, "a loan", err, plugin.ErrBadRequest)
	a := offered(t, c, transferred("mine"))
	c.cinder.With(func() { c.cinder.Volumes[string(a.VolumeID)].Status = "in-use" })
	_, err = c.CreateVolume(t.Context(), transferred("mine"))
	is(t, "an attached volume", err, plugin.ErrConflict)
}

// The key is in the answer, and nowhere else: neither printed, nor logged, nor in what the daemon keeps.
func TestTheKeyOfATransferIsToldOnce(t *testing.T) {
	var said bytes.Buffer
	c := &cloud{cinder: cindertest.New(t), images: t.TempDir()}
	c.image(t, "debian")
	log := logrus.New()
	log.SetOutput(&said)
	log.SetLevel(logrus.TraceLevel)
	c.open(t, plugin.Config{StateDir: t.TempDir(), Log: log}, lru.Bounds{}, nil)
	a := offered(t, c, transferred("mine"))
	key := []byte(string(a.Transfer.Key))
	if printed := fmt.Sprintf("%v %+v %#v", a.Transfer, *a.Transfer, a.Transfer.Key); bytes.Contains([]byte(printed), key) {
		t.Errorf("printed: %s", printed)
	}
	if _, err := c.Events(t.Context(), plugin.EventFilter{}); err != nil { // the catalog is written behind
		t.Error(err)
	}
	if err := c.Close(t.Context()); err != nil {
		t.Error(err)
	}
	if bytes.Contains(said.Bytes(), key) {
		t.Error("the log has the key")
	}
	looked := 0
	err := filepath.WalkDir(c.config.StateDir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		looked++
		kept, err := os.ReadFile(path)
		if bytes.Contains(kept, key) {
			t.Errorf("%s has the key", path)
		}
		return err
	})
	if err != nil || looked == 0 {
		t.Errorf("looked at %d files: %v", looked, err)
	}
}
