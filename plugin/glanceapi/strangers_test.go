package glanceapi_test

import (
	"fmt"
	"testing"

	"github.com/clonecache/clonecache/lru"
	"github.com/clonecache/clonecache/plugin"
	"github.com/clonecache/clonecache/plugin/glanceapi"
)

// Whatever strangers ask for, what others use stays: they have a part of the file cache an hour.
func TestStrangersDoNotEmptyTheCache(t *testing.T) {
	const each = 100 << 10
	for _, c := range []struct {
		method string
		part   header
	}{{"HEAD", "Accept: */*"}, {"GET", "Range: bytes=5-9"}, {"GET", "Accept: */*"}} {
		t.Run(fmt.Sprint(c.method, " ", c.part), func(t *testing.T) {
			f := newFront(t, keeping, anonymous, func(_ *glanceapi.Config, cache *plugin.Config) {
				cache.FileCaches[0].Bounds = lru.Bounds{MaxBytes: 8 * each}
			})
			ids := make([]string, 17)
			f.glance.set(func() {
				for n := range ids {
					ids[n] = fmt.Sprintf("77777777-7777-4777-8777-%012d", n)
					f.glance.images[ids[n]] = fakeImage{data: random(each + n), status: "active"}
				}
			})
			used, others := ids[:7], ids[7:]
			for _, id := range used {
				f.keep(t, "demo", id)
			}
			before := f.glance.downloads()
			for range 2 {
				for _, id := range others {
					if answer, _ := f.send(t, "", c.method, "/v2/images/"+id+"/file", c.part); answer.StatusCode/100 != 2 {
						t.Fatalf("%s of %s: %d", c.method, id, answer.StatusCode)
					}
				}
				until(t, "nothing is fetched any more", func() bool { _, queued, _ := f.listed(t); return len(queued) == 0 })
			}
			cached, _, _ := f.listed(t)
			left := 0
			for _, id := range used {
				for _, is := range cached {
					if id == is {
						left++
					}
				}
			}
			if left < len(used)-3 {
				t.Errorf("of %d images that are in use %d are left, after %d downloads from Glance", len(used), left, f.glance.downloads()-before)
			}
		})
	}
}
