package scale

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	_ "modernc.org/sqlite" // the driver of the catalog's file

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/backends/backendtest"
	"github.com/clonecache/clonecache/plugin"
	"github.com/clonecache/clonecache/plugin/catalog"
	"github.com/clonecache/clonecache/plugin/diskimage"
	"github.com/clonecache/clonecache/plugin/imagesource"
	"github.com/clonecache/clonecache/plugin/words"
)

// imageBytes is the size of every image: it is the entries that are many, not the bytes.
const imageBytes = 4096

// place is a state directory and a backend in memory that both know the same n image-volumes.
type place struct {
	n        int
	state    string
	backend  *backendtest.Memory
	counting *counting
}

func entryID(i int) string { return fmt.Sprintf("01900000-0000-7000-8000-%012d", i) }

func imageVolume(i int) backends.ImageVolumeID {
	return backends.ImageVolumeID(fmt.Sprintf("cc-%s-1", entryID(i)))
}

func digest(i int) string { return fmt.Sprintf("sha256:%064x", i) }

func imageID(i int) string { return fmt.Sprintf("image-%d", i) }

// newPlace makes n entries, each with an image and a revision, and so many requests, in a store whose
// clones depend on their image-volumes or not.
func newPlace(tb testing.TB, n, requests int, info backends.Info) *place {
	tb.Helper()
	p := &place{n: n, state: inMemory(tb), backend: backendtest.NewMemory(backendtest.MemoryConfig{Info: info})}
	p.counting = &counting{Memory: p.backend}
	for i := range n {
		if _, err := fillOne(tb.Context(), p.backend, i); err != nil {
			tb.Fatal(err)
		}
	}
	newCatalog(tb, p.state, content{n: n, requests: requests, heldBytes: imageBytes})
	return p
}

// fillOne makes an image-volume: one page.
func fillOne(ctx context.Context, b backends.Store, i int) (backends.ImageVolume, error) {
	d := backends.Description{
		EntryID: words.EntryID(entryID(i)), Attempt: 1, ContentKey: words.ContentKey(digest(i), "raw"), ImageIDs: []string{"many:" + imageID(i)}, Content: backends.Content{Digest: digest(i), DiskFormat: "raw", SourceBytes: imageBytes, VirtualBytes: imageBytes, InspectorVersion: diskimage.InspectorVersion},
		Form: backends.Decoded, CreatedAt: began,
	}
	s, err := b.Stage(ctx, backends.StageSpec{ID: imageVolume(i), VirtualBytes: imageBytes, Description: d})
	if err != nil {
		return backends.ImageVolume{}, err
	}
	if _, err := s.WriteAt([]byte{1}, 0); err != nil {
		return backends.ImageVolume{}, err
	}
	return s.Commit(ctx, d)
}

// content is what a catalog is to hold.
type content struct {
	n, requests int
	heldBytes   int64 // of each image-volume
}

// newCatalog makes one in a state directory.
func newCatalog(tb testing.TB, state string, holds content) {
	tb.Helper()
	if err := os.MkdirAll(state, 0o755); err != nil {
		tb.Fatal(err)
	}
	path := filepath.Join(state, "catalog.db")
	c, err := catalog.Open(tb.Context(), catalog.Config{Access: catalog.Access{URL: catalog.FileURL(path)}})
	if err != nil {
		tb.Fatal(err)
	}
	if err := c.Close(); err != nil {
		tb.Fatal(err)
	}
	if err := seed(tb.Context(), path, holds); err != nil {
		tb.Fatal(err)
	}
}

// began is when the first entry was made; each is used a second after the one before.
var began = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

const (
	seedEntries = `INSERT INTO entries (id, store, content_key, domain, live_key, state, attempt, image_volume, form,
		digest, disk_format, source_bytes, virtual_bytes, reserved_bytes, held_bytes, claim, pinned, hits, clones,
		inspector_version, evict_cause, created_at, filled_at, last_used_at, lease_host, lease_incarnation, lease_until,
		last_error, retry_after)
		VALUES (?1, 'local', ?2 || '/raw', '', '"local"""' || ?2 || '/raw', 'ready', 1, ?3, 'decoded', ?2, 'raw', ?4, ?4, 0, ?7,
		?1, 0, 3, 0, ?5, '', ?6, ?6, ?6, '', '', 0, '', 0)`
	seedImages = `INSERT INTO entry_images (entry_id, image_id, revision_key, added_at) VALUES (?, ?, ?, ?)`
	seedClaims = `INSERT INTO claims (id, project_id, entry_id, attempt, backend, image_id, gigabytes, in_use, created_at)
		VALUES (?1, 'clonecache', ?1, 1, 'local', ?2, 1, 1, ?3)`
	// one row in ten requests, as of images that are asked for ten times a minute
	seedRequests = `INSERT INTO request_stats (minute, backend, image_id, outcome, reason, requests, downloads, downloaded_bytes, saved_bytes, took)
		VALUES (?, 'local', ?, 'hit', 'ready', 10, 0, 0, 40960, 1000)`
	// the same requests, as of three daemons that made them for some projects
	seedWork = `INSERT INTO work_stats (minute, host, project, outcome, requests, downloads, saved_bytes, took, fills, failed, source_bytes)
		VALUES (?, ?, ?, 'hit', ?, 0, ?, 1000, 0, 0, 0)`
	seedHosts = `INSERT INTO hosts (id, incarnation, name, version, first_seen_at, begun_at, last_seen_at, alive_until, stopped)
		VALUES (?, '1', ?, '1', ?, ?, ?, ?, 1)`
)

const (
	seedDaemons  = 3
	seedProjects = 20
)

// seedDaemon is the instance of a daemon that made requests.
func seedDaemon(n int) string { return fmt.Sprintf("01900000-0000-7000-9000-%012d", n) }

// seedDone writes what three daemons did at each minute in which so many requests were answered.
func seedDone(tx *sql.Tx, minutes, requests int) error {
	at := began.UnixMicro()
	for h := range seedDaemons {
		if _, err := tx.Exec(seedHosts, seedDaemon(h), fmt.Sprint("storage-", h+1), at, at, at, at); err != nil {
			return err
		}
	}
	each := requests / max(minutes, 1) / seedDaemons / seedProjects
	for m := range minutes * seedDaemons * seedProjects {
		minute := began.Unix()/60 + int64(m/seedDaemons/seedProjects)
		_, err := tx.Exec(seedWork, minute, seedDaemon(m%seedDaemons), fmt.Sprint("project-", m/seedDaemons%seedProjects), each, each*imageBytes)
		if err != nil {
			return err
		}
	}
	return nil
}

// seed writes into the catalog's file, in one transaction.
func seed(ctx context.Context, path string, holds content) error {
	db, err := sql.Open("sqlite", "file:"+path)
	if err != nil {
		return err
	}
	defer db.Close()
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	run := map[string]*sql.Stmt{}
	for _, text := range []string{seedEntries, seedImages, seedClaims, seedRequests} {
		if run[text], err = tx.PrepareContext(ctx, text); err != nil { //nolint:sqlclosecheck // the transaction's end closes it
			return err
		}
	}
	for i := range holds.n {
		at := began.Add(time.Duration(i) * time.Second).UnixMicro()
		revision := string(words.RevisionKey("many:"+imageID(i), "1", "raw"))
		_, entry := run[seedEntries].Exec(entryID(i), digest(i), string(imageVolume(i)), imageBytes, diskimage.InspectorVersion, at, holds.heldBytes)
		_, image := run[seedImages].Exec(entryID(i), "many:"+imageID(i), revision, at)
		_, claim := run[seedClaims].Exec(entryID(i), "many:"+imageID(i), at)
		if err := errors.Join(entry, image, claim); err != nil {
			return err
		}
	}
	for r := range holds.requests / 10 {
		minute := began.Unix()/60 + int64(r/min(holds.n, 1000))
		if _, err := run[seedRequests].Exec(minute, "many:"+imageID(r%min(holds.n, 1000))); err != nil {
			return err
		}
	}
	if err := seedDone(tx, holds.requests/10/min(holds.n, 1000), holds.requests); err != nil {
		return err
	}
	return tx.Commit()
}

// open opens a plugin on the place. count bounds its entries; 0 does not.
func (p *place) open(tb testing.TB, count int) *plugin.Plugin {
	tb.Helper()
	opened, err := plugin.Open(tb.Context(), p.config(count))
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := opened.Close(context.Background()); err != nil {
			tb.Error(err)
		}
	})
	return opened
}

func (p *place) config(count int) plugin.Config {
	c := plugin.Config{
		StateDir: p.state, Host: "host", Sources: []imagesource.Source{many{}},
		Backends: []plugin.BackendConfig{{Name: "local", Backend: p.counting}},
		// What lies in memory is not what the catalog says of it: a minute after the start all would be found damaged.
		ScrubEvery: -1,
	}
	c.Backends[0].Bounds.MaxCount = count
	return c
}

// create makes a volume; its image is cached, or is new where it is not of the place's.
func create(tb testing.TB, p *plugin.Plugin, image, volume string, want plugin.Outcome) {
	tb.Helper()
	a, err := p.CreateVolume(tb.Context(), plugin.Request{Image: "many:" + image, Volume: backends.VolumeName(volume)})
	if err != nil || a.Outcome != want {
		tb.Fatalf("volume %s of %s: got %+v, %v, want %s", volume, image, a, err, want)
	}
}

// inMemory is a directory that no disk is waited for, where there is such.
func inMemory(tb testing.TB) string {
	tb.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "scale-")
	if err != nil {
		return tb.TempDir()
	}
	tb.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// many is a source of as many images as anybody asks for.
type many struct{}

func (many) Name() string { return "many" }

func (many) Stat(_ context.Context, id string) (imagesource.Image, error) {
	return imagesource.Image{Source: "many", ID: id, Revision: "1", SizeBytes: imageBytes, DiskFormat: "raw", ClaimedBy: imagesource.ByService}, nil
}

// Open gives bytes that no other image has.
func (many) Open(_ context.Context, i imagesource.Image) (io.ReadCloser, error) {
	content := i.ID + strings.Repeat("\x01", imageBytes-len(i.ID))
	return io.NopCloser(strings.NewReader(content)), nil
}
