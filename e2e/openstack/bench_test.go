//go:build openstack

package openstack

import (
	"cmp"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// rounds is how often each of two is measured, in turns.
const rounds = 3

// BenchmarkBesideCinder measures clonecache and Cinder's own image-volume cache in turns on the same
// lab: the first volume of a raw and of a qcow2 image, hits one after another and fifty at once, and
// deleting those, eight at a time. The figures are medians of the rounds. Ceph's mon has its default timing, in which a
// snapshot costs up to a second (paxos_propose_interval = 1); so run it on a lab that it starts itself.
//
//	go test -run '^$' -bench BesideCinder -benchtime 1x -tags ceph,pacific,openstack ./e2e/openstack
func BenchmarkBesideCinder(b *testing.B) {
	for name, measure := range map[string]measuring{"first": firstVolumes, "hit": hitsInTurn, "fifty": fiftyAtOnce} {
		b.Run(name, func(b *testing.B) {
			if b.N > 1 {
				b.Skip("one run is all there is to it: -benchtime 1x")
			}
			ours, theirs := make(map[string][]float64), make(map[string][]float64)
			for range rounds {
				withHook(b, measure, ours)
				withoutHook(b, measure, theirs)
			}
			b.ReportMetric(0, "ns/op")
			for _, figure := range slices.Sorted(maps.Keys(ours)) {
				mine, other := median(slices.Clone(ours[figure])), median(slices.Clone(theirs[figure]))
				b.Logf("%-32s clonecache %7.3f  Cinder %7.3f  ratio %6.2f  (rounds: %.3f, Cinder %.3f)", figure, mine, other, mine/other, ours[figure], theirs[figure])
				b.ReportMetric(mine/other, strings.Fields(figure)[0]+"-ratio")
			}
		})
	}
}

// measuring measures one cache and returns figures by their names and units; cached waits until an image is cached.
type measuring func(b *testing.B, w *world, cached func(image string)) map[string]float64

// withHook adds what our cache did to the figures.
func withHook(b *testing.B, measure measuring, figures map[string][]float64) {
	b.Helper()
	w := begin(b)
	defer w.daemon.Stop(b) // the other turn has one too
	defer w.end(b)
	add(figures, measure(b, w, func(string) {}))
	total := w.daemon.Report(b).Total
	b.Logf("%d fills of %.0f ms on average: %+v", total.Fills, total.FillMeanMS, total.Phases)
}

// withoutHook adds what Cinder's own did.
func withoutHook(b *testing.B, measure measuring, figures map[string][]float64) {
	b.Helper()
	b.Setenv("CINDER_CACHE", "1")
	lab.do(b, "hook", "off")
	lab.do(b, "restart", "cinder-volume")
	defer func() {
		b.Setenv("CINDER_CACHE", "0")
		lab.do(b, append([]string{"hook", lab.socket()}, hookKeys...)...)
		lab.do(b, "restart", "cinder-volume")
	}()
	w := begin(b)
	defer w.daemon.Stop(b)
	defer w.end(b)
	defer func() { // before end looks: what Cinder cached
		for _, v := range w.internal.volumes(b) {
			w.internal.delete(b, v.ID)
		}
	}()
	add(figures, measure(b, w, func(image string) {
		within(b, "Cinder has cached the image", func() bool {
			return slices.ContainsFunc(w.internal.volumes(b), func(v volume) bool {
				return strings.Contains(v.Name, image) && v.Status == "available"
			})
		})
	}))
}

func add(figures map[string][]float64, more map[string]float64) {
	for name, value := range more {
		figures[name] = append(figures[name], value)
	}
}

// firstVolumes are of images that nobody has cached: POST to available.
func firstVolumes(b *testing.B, w *world, cached func(image string)) map[string]float64 {
	b.Helper()
	d := newDisk(b, uint64(time.Now().UnixNano()), 1024*mib, 690*mib)
	// The first volume of all on a new pool takes Cinder a second more, whatever it is made from.
	w.demo.delete(b, w.demo.make(b, wanted{Type: "rbd1"}).ID)
	compact := d.qcow2(b)
	raw, qcow2 := w.upload(b, d.path, "raw", nil), w.upload(b, compact, "qcow2", nil)
	for _, path := range []string{d.path, compact} { // they lie in memory
		if err := os.Remove(path); err != nil {
			b.Fatal(err)
		}
	}
	figures := map[string]float64{"first-raw s": w.timed(b, raw).Seconds()}
	cached(raw)
	figures["first-qcow2 s"] = w.timed(b, qcow2).Seconds()
	cached(qcow2)
	return figures
}

// cachedImage is one whose volumes are hits.
func (w *world) cachedImage(b *testing.B, cached func(image string)) string {
	b.Helper()
	image := w.upload(b, newDisk(b, uint64(time.Now().UnixNano()), 1024*mib, 64*mib).path, "raw", nil)
	w.timed(b, image)
	cached(image)
	return image
}

// hitsInTurn are POST to available, and of that within cinder-volume.
func hitsInTurn(b *testing.B, w *world, cached func(image string)) map[string]float64 {
	b.Helper()
	image := w.cachedImage(b, cached)
	log := lab.logged(b, "cinder-volume")
	hits := make([]time.Duration, 10)
	for i := range hits {
		hits[i] = w.timed(b, image)
	}
	return map[string]float64{"hit s": median(hits).Seconds(), "inside-cinder-volume s": median(inside(b, log())).Seconds()}
}

// fiftyAtOnce are hits, and the end of their volumes.
func fiftyAtOnce(b *testing.B, w *world, cached func(image string)) map[string]float64 {
	b.Helper()
	volumes, took := w.timedAll(b, 50, wanted{Image: w.cachedImage(b, cached), Type: "rbd1"})
	return map[string]float64{"fifty-at-once volumes/s": 50 / took.Seconds(), "deletes volumes/s": 50 / w.deleteAll(b, volumes, 8).Seconds()}
}

// timed makes a volume and returns how long that took.
func (w *world) timed(b *testing.B, image string) time.Duration {
	b.Helper()
	ends, begun := newEnded(b), time.Now()
	var answer struct{ Volume volume }
	request := requestID(w.demo.must(b, call{"POST", w.demo.cinderURL("/volumes"), wanted{Image: image, Type: "rbd1"}.body(b)}, &answer))
	for said := 0; ; {
		ends.until(b, "volume "+answer.Volume.ID+" is made", func() bool { return ends.times[request] > said })
		took := time.Since(begun)
		said = ends.times[request]
		v, _ := w.demo.volume(b, answer.Volume.ID)
		switch v.Status {
		case "available":
			return took
		case "error":
			b.Fatalf("volume %s: status error", v.ID)
		}
	}
}

// timedAll makes n volumes at once, and returns how long that took.
func (w *world) timedAll(b *testing.B, n int, of wanted) ([]string, time.Duration) {
	b.Helper()
	ends, begun := newEnded(b), time.Now()
	ids, requests := make([]string, n), make([]string, n)
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() {
			var answer struct{ Volume volume }
			status, refusal, header := w.demo.try(b, call{"POST", w.demo.cinderURL("/volumes"), of.body(b)}, &answer)
			if status >= 300 {
				b.Errorf("volume %d of %d: %d %s", i, n, status, refusal)
			}
			ids[i], requests[i] = answer.Volume.ID, requestID(header)
		})
	}
	all.Wait()
	if b.Failed() {
		b.FailNow()
	}
	ends.until(b, "all volumes are made", func() bool {
		return !slices.ContainsFunc(requests, func(r string) bool { return ends.times[r] == 0 })
	})
	took := time.Since(begun)
	w.demo.allAvailable(b, ids)
	return ids, took
}

// deleteAll deletes volumes, some at a time, and returns how long that took.
func (w *world) deleteAll(b *testing.B, ids []string, atOnce int) time.Duration {
	b.Helper()
	ends, begun := newEnded(b), time.Now()
	var asked sync.Map // requests that Cinder has not ended, as far as is known
	for left, room := ids, atOnce; len(left) > 0 || room < atOnce; {
		var all sync.WaitGroup
		for range min(room, len(left)) {
			id := left[0]
			all.Go(func() {
				status, refusal, header := w.demo.try(b, call{"DELETE", w.demo.cinderURL("/volumes/" + id), nil}, nil)
				if status >= 300 {
					b.Errorf("delete volume %s: %d %s", id, status, refusal)
				}
				asked.Store(requestID(header), nil)
			})
			left, room = left[1:], room-1
		}
		all.Wait()
		if b.Failed() {
			b.FailNow()
		}
		enough := 1
		if len(left) == 0 {
			enough = atOnce
		}
		ends.until(b, "volumes are deleted", func() bool {
			asked.Range(func(request, _ any) bool {
				if ends.times[request.(string)] > 0 {
					asked.Delete(request)
					room++
				}
				return true
			})
			return room >= enough
		})
	}
	took := time.Since(begun)
	for _, id := range ids {
		if v, exists := w.demo.volume(b, id); exists {
			b.Errorf("volume %s is there, with status %s", id, v.Status)
		}
	}
	return took
}

// begunOrMade are cinder-volume's lines at the begin and the end of making a volume.
var begunOrMade = regexp.MustCompile(`(?m)^(\S+ \S+) .*\[(?:None )?(req-\S+) .*(being created as image|Created volume successfully)`)

// inside reads from cinder-volume's log how long each volume was in the making there.
func inside(b *testing.B, log string) []time.Duration {
	b.Helper()
	var took []time.Duration
	begun := make(map[string]time.Time)
	for _, m := range begunOrMade.FindAllStringSubmatch(log, -1) {
		at, err := time.Parse("2006-01-02 15:04:05.000", m[1])
		if err != nil {
			b.Fatal(err)
		}
		if strings.HasPrefix(m[3], "being") {
			begun[m[2]] = at
		} else if first, ok := begun[m[2]]; ok {
			took = append(took, at.Sub(first))
		}
	}
	if len(took) == 0 {
		b.Fatal("cinder-volume's log has no volumes")
	}
	return took
}

func median[V cmp.Ordered](of []V) V {
	slices.Sort(of)
	return of[len(of)/2]
}
