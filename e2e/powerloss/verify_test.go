package powerloss_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/e2e/harness"
	"github.com/clonecache/clonecache/e2e/powerloss"
	"github.com/clonecache/clonecache/plugin"
)

// errLost: a promise was broken.
var errLost = errors.New("was answered, and is lost")

// verify opens what a disk holds after the power came back, and returns everything that breaks a promise.
func (l *library) verify(ctx context.Context, dir string, w wanted) error {
	// Nobody's help is needed to see that volumes are whole.
	early := l.volumes(dir, w)
	if err := powerloss.NewBoot(); err != nil {
		return err
	}
	s, err := l.open(ctx, dir)
	if err != nil {
		return errors.Join(early, fmt.Errorf("open after the power came back: %w", err))
	}
	v := &verifier{site: s, library: l, dir: dir, want: w}
	found := []error{early}
	for _, look := range []func(context.Context) error{
		v.listed, v.entries, v.quota, v.nothingLeftOver, v.consistent, v.told, v.repeat, v.quota, v.consistent, v.told,
	} {
		found = append(found, look(ctx))
	}
	if err := errors.Join(append(found, s.close(ctx))...); err != nil {
		return fmt.Errorf("%w\nthe log says:\n%s", err, s.log.String())
	}
	return nil
}

// volumes compares the files by volumes' names with what was promised.
func (l *library) volumes(dir string, w wanted) error {
	var found []error
	there, err := os.ReadDir(filepath.Join(dir, volumesDir))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	seen := map[string]bool{}
	for _, f := range there {
		if strings.HasPrefix(f.Name(), ".") {
			continue
		}
		seen[f.Name()] = true
		want, ok := w.volumes[f.Name()]
		if !ok {
			found = append(found, fmt.Errorf("volume %s is there, which nobody asked for or which was deleted", f.Name()))
			continue
		}
		found = append(found, l.holds(filepath.Join(dir, volumesDir, f.Name()), want))
	}
	for name, want := range w.volumes {
		if want.presence == sure && !seen[name] {
			found = append(found, fmt.Errorf("volume %s %w", name, errLost))
		}
	}
	return errors.Join(found...)
}

// holds compares a volume's bytes with its image's, and zeroes beyond: up to the size that was asked for, rounded up.
func (l *library) holds(path string, want wantedVolume) error {
	got, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	content, size := l.content[want.image], backends.RoundUp(want.size)
	if begins := bytes.HasPrefix(got, []byte(ownersBytes)); begins && want.owner != gone || want.owner == sure {
		if !begins {
			return fmt.Errorf("what the owner of volume %s wrote %w", filepath.Base(path), errLost)
		}
		content = append([]byte(ownersBytes), content[len(ownersBytes):]...)
	}
	switch {
	case int64(len(got)) != size:
		return fmt.Errorf("volume %s has %d bytes, want %d", filepath.Base(path), len(got), size)
	case !bytes.Equal(got[:len(content)], content) || len(bytes.TrimLeft(got[len(content):], "\x00")) != 0:
		return fmt.Errorf("volume %s does not hold image %s", filepath.Base(path), want.image)
	}
	return nil
}

// verifier looks at an open site.
type verifier struct {
	*site
	*library
	dir  string
	want wanted
}

// listed wants every volume to be as promised still, and to be known as whole.
func (v *verifier) listed(ctx context.Context) error {
	found := []error{v.volumes(v.dir, v.want)}
	list, err := v.ListVolumes(ctx, "")
	if err != nil {
		return err
	}
	known := map[string]bool{}
	for _, l := range list {
		known[string(l.Volume)] = true
		if !l.Complete {
			found = append(found, fmt.Errorf("volume %s is listed as half made", l.Volume))
		}
	}
	for name, want := range v.want.volumes {
		if want.presence == sure && !known[name] {
			found = append(found, fmt.Errorf("volume %s was answered, and is not listed", name))
		}
	}
	return errors.Join(found...)
}

// told wants what was kept to be told of in the list of volumes, by check and in an event.
func (v *verifier) told(ctx context.Context) error {
	volumes, err := v.ListVolumes(ctx, "")
	if err != nil {
		return err
	}
	r, err := v.Check(ctx, plugin.CheckOptions{})
	if err != nil {
		return err
	}
	events, err := v.Events(ctx, plugin.EventFilter{})
	return errors.Join(err, harness.Told(volumes, r.Problems, events))
}

// entries compares the catalog with what was promised, and wants it never to have been rebuilt.
func (v *verifier) entries(ctx context.Context) error {
	all, err := v.Entries(ctx, plugin.EntryFilter{State: "all"})
	if err != nil {
		return err
	}
	var found []error
	there := map[string]bool{}
	for _, e := range all {
		there[e.ID] = true
		if e.State != "ready" {
			found = append(found, fmt.Errorf("entry %s is %s, with nothing going on", e.ID, e.State))
		}
		if p, known := v.want.entries[e.ID]; known && p == gone {
			found = append(found, fmt.Errorf("entry %s was evicted, and is back", e.ID))
		}
		if v.want.pins != nil && v.want.entries[e.ID] == sure && e.Pinned != v.want.pins[e.ID] {
			found = append(found, fmt.Errorf("entry %s: pinned is %t, want %t", e.ID, e.Pinned, v.want.pins[e.ID]))
		}
	}
	for id, p := range v.want.entries {
		if p == sure && !there[id] {
			found = append(found, fmt.Errorf("entry %s was ready, and is lost", id))
		}
	}
	damaged, err := filepath.Glob(filepath.Join(v.dir, stateDir, "catalog.db.damaged*"))
	if len(damaged) > 0 && !v.want.rebuilt {
		found = append(found, fmt.Errorf("the catalog could not be read: %v", damaged))
	}
	return errors.Join(append(found, err)...)
}

// quota wants what is charged to be what exists.
func (v *verifier) quota(ctx context.Context) error {
	q, err := v.Quota(ctx)
	if err != nil {
		return err
	}
	files, err := os.ReadDir(filepath.Join(v.dir, volumesDir, ".clonecache", "image-volumes"))
	if n := int64(len(files)); q.Volumes.InUse != n || q.Volumes.Actual != n || q.Volumes.Reserved != 0 {
		err = errors.Join(err, fmt.Errorf("quota: %+v, with %d image-volumes on disk", q.Volumes, n))
	}
	return err
}

// nothingLeftOver wants the places of what is unfinished to be empty.
func (v *verifier) nothingLeftOver(context.Context) error {
	var found []error
	for _, place := range []string{
		"volumes/.clonecache/staging/volumes", "volumes/.clonecache/staging/image-volumes", "volumes/.clonecache/stamps",
		"files/.clonecache/staging", "files/.clonecache/stamps", "state/scratch",
	} {
		left, err := os.ReadDir(filepath.Join(v.dir, place))
		if len(left) > 0 {
			err = fmt.Errorf("%s holds %v", place, left)
		}
		found = append(found, err)
	}
	return errors.Join(found...)
}

// consistent wants catalog, backends and quota to agree, and every image-volume to have the right bytes.
func (v *verifier) consistent(ctx context.Context) error {
	r, err := v.Check(ctx, plugin.CheckOptions{Deep: true})
	wrong := slices.DeleteFunc(r.Problems, func(p plugin.Problem) bool { // a volume that is kept is told of
		_, asked := v.want.volumes[p.ID]
		return p.Kind == "kept-volume" && asked
	})
	if err == nil && len(wrong) > 0 {
		err = fmt.Errorf("check: %+v", wrong)
	}
	return err
}

// repeat asks once more for all that was not answered, for something that was, and for something new.
func (v *verifier) repeat(ctx context.Context) error {
	var found []error
	for name, s := range v.want.begun {
		if s.Does == creating {
			found = append(found, v.ask(ctx, name, v.want.volumes[name]))
			continue
		}
		err := v.DeleteVolume(ctx, "local", backends.VolumeName(name))
		if err != nil && !errors.Is(err, backends.ErrNotExist) {
			found = append(found, err)
		}
	}
	for name, want := range v.want.volumes {
		if want.presence == sure {
			found = append(found, v.ask(ctx, name, want))
			break
		}
	}
	for _, image := range []string{"a", "d"} {
		found = append(found, v.ask(ctx, "new-"+image, wantedVolume{image: image, size: 3 * mib}))
	}
	return errors.Join(found...)
}

// ask wants a volume, made now or before.
func (v *verifier) ask(ctx context.Context, name string, want wantedVolume) error {
	a, err := v.CreateVolume(ctx, plugin.Request{Image: ref(want.image), Volume: backends.VolumeName(name), SizeBytes: want.size})
	if err != nil {
		return fmt.Errorf("ask for %s again: %w", name, err)
	}
	allowed := []plugin.Outcome{plugin.Hit, plugin.Filled, plugin.Copied}
	if !slices.Contains(allowed, a.Outcome) || want.presence == sure && a.Reason != plugin.ReasonRepeated {
		return fmt.Errorf("ask for %s again: %+v", name, a)
	}
	return v.holds(a.Path, want)
}
