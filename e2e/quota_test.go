package e2e

import (
	"testing"

	"github.com/clonecache/clonecache/e2e/harness"
	"github.com/clonecache/clonecache/plugin"
)

// Over the internal tenant's quota, the oldest idle image-volume goes for the new one.
func TestOverQuotaTheOldestGoes(t *testing.T) {
	d := cloning(t, harness.Config{MaxVolumes: 1})
	for i := range 3 {
		image, disk := addImage(t, d, i+1)
		got := d.Create(t, harness.Volume{Image: image, Name: string(rune('a' + i))})
		if got.Outcome != plugin.Filled {
			t.Errorf("image %d: got %s, %s, want filled", i, got.Outcome, got.Reason)
		}
		harness.SameContent(t, got.Path, disk, imageSize)
	}
	if got := d.Report(t).Total.EvictionsBy["quota"]; got != 2 {
		t.Errorf("evictions for the quota: got %d, want 2", got)
	}
	d.Consistent(t)
}

// Over the internal tenant's quota that evicts nothing, volumes are copied from the file cache, with the reason.
func TestOverQuotaFallsBackToCopies(t *testing.T) {
	for _, c := range []struct {
		name   string
		config harness.Config
	}{
		{"volumes", harness.Config{MaxVolumes: 1, KeepForQuota: true}},
		{"gigabytes", harness.Config{MaxGigabytes: 1, KeepForQuota: true}},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := cloning(t, c.config)
			first, _ := addImage(t, d, 1)
			second, disk := addImage(t, d, 2)
			d.Create(t, harness.Volume{Image: first, Name: "a"})
			for i, downloads := range []int64{imageSize, 0} {
				got := d.Create(t, harness.Volume{Image: second, Name: []string{"b", "c"}[i], Size: 2 * imageSize})
				if got.Outcome != plugin.Copied || got.Reason != plugin.ReasonOverQuota || got.DownloadedBytes != downloads {
					t.Errorf("request %d: got %s, %s, %d bytes; want copied, over_quota, %d", i+1, got.Outcome, got.Reason, got.DownloadedBytes, downloads)
				}
				harness.SameContent(t, got.Path, disk, 2*imageSize)
			}
			if got := d.Report(t).Total.Fallbacks["over_quota"]; got != 2 {
				t.Errorf("report: fallbacks over_quota: got %d, want 2", got)
			}
			d.Consistent(t)
		})
	}
}

// Without a file cache the cache steps aside: no volume, exit 4, the reason.
func TestOverQuotaWithoutAFileCacheIsBypassed(t *testing.T) {
	d := cloning(t, harness.Config{MaxVolumes: 1, KeepForQuota: true, Fallback: harness.NoFallback})
	first, _ := addImage(t, d, 1)
	second, _ := addImage(t, d, 2)
	d.Create(t, harness.Volume{Image: first, Name: "a"})
	exit, got, _ := d.TryCreate(t, harness.Volume{Image: second, Name: "b"})
	if exit != harness.ExitBypassed || got.Outcome != plugin.Bypassed || got.Reason != plugin.ReasonOverQuota {
		t.Errorf("got exit %d, %s, %s; want %d, bypassed, over_quota", exit, got.Outcome, got.Reason, harness.ExitBypassed)
	}
	if got := len(d.Volumes(t)); got != 1 {
		t.Errorf("volumes: got %d, want 1", got)
	}
	d.Consistent(t)
}

// The quota is charged while a fill runs, and given back when the entry is gone.
func TestQuotaFollowsTheImageVolume(t *testing.T) {
	c, web := withWeb(t, harness.Config{MaxVolumes: 5, MaxGigabytes: 20})
	webImage(t, web, "image.raw", 8*mib)
	d := cloning(t, c)
	reached, release := web.HoldAt(t, "image.raw", 4*mib)
	p := begin(t, d, "web:image.raw", "v")
	<-reached // by what lies in the connection's buffers: what was read so far may be the headers alone
	var q plugin.Quota
	harness.Until(t, "1 volume and 1 GiB are reserved while it fills", func() bool {
		q = d.Quota(t)
		return q.Volumes.Reserved == 1 && q.Gigabytes.Reserved == 1
	})
	if q.Volumes.Limit != 5 || q.Volumes.InUse != 0 {
		t.Errorf("while it fills: got %+v, want nothing in use, of 5 volumes", q)
	}
	release()
	p.wait()
	if p.err != nil {
		t.Fatal(p.err)
	}
	q = d.Quota(t)
	if q.Volumes.InUse != 1 || q.Volumes.Reserved != 0 || q.Volumes.Actual != 1 || q.Gigabytes.InUse != 1 {
		t.Errorf("afterwards: got %+v, want 1 volume and 1 GiB in use", q)
	}
	if r := d.CLI(t, "entry", "delete", p.answer.EntryID); r.Exit != 0 {
		t.Fatalf("delete the entry: exit %d\n%s", r.Exit, r.Stderr)
	}
	d.Consistent(t)
}
