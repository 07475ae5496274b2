//go:build openstack

package openstack

import (
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
	if b.N > 1 {
		b.Skip("one run is all there is to it: -benchtime 1x")
	}
	var ours, theirs []figures
	for range rounds {
		ours, theirs = append(ours, withHook(b)), append(theirs, withoutHook(b))
	}
	b.ReportMetric(0, "ns/op")
	for _, m := range []struct {
		name, unit string
		of         func(figures) float64
	}{
		{"first-raw", "s", func(f figures) float64 { return f.firstRaw.Seconds() }},
		{"first-qcow2", "s", func(f figures) float64 { return f.firstQcow2.Seconds() }},
		{"hit", "s", func(f figures) float64 { return f.hit.Seconds() }},
		{"inside-cinder-volume", "s", func(f figures) float64 { return f.inside.Seconds() }},
		{"fifty-at-once", "volumes/s", func(f figures) float64 { return f.burst }},
		{"deletes", "volumes/s", func(f figures) float64 { return f.deletes }},
	} {
		mine, other := medianOf(ours, m.of), medianOf(theirs, m.of)
		b.Logf("%-22s clonecache %7.3f  Cinder %7.3f  ratio %6.2f  (%s; rounds: %.3f, Cinder %.3f)",
			m.name, mine, other, mine/other, m.unit, all(ours, m.of), all(theirs, m.of))
		b.ReportMetric(mine/other, m.name+"-ratio")
	}
}

// all is one figure of every round.
func all(rounds []figures, of func(figures) float64) []float64 {
	values := make([]float64, len(rounds))
	for i, f := range rounds {
		values[i] = of(f)
	}
	return values
}

func medianOf(rounds []figures, of func(figures) float64) float64 {
	values := all(rounds, of)
	slices.Sort(values)
	return values[len(values)/2]
}

// figures are what one cache did.
type figures struct {
	firstRaw, firstQcow2 time.Duration // POST to available
	hit                  time.Duration // the same, median of ten
	inside               time.Duration // of that within cinder-volume, median
	burst, deletes       float64       // volumes a second
}

func withHook(b *testing.B) figures {
	b.Helper()
	w := begin(b)
	defer w.daemon.Stop(b) // the other turn has one too
	defer w.end(b)
	return measure(b, w, func(string) {})
}

func withoutHook(b *testing.B) figures {
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
	defer w.end(b)
	defer func() { // before end looks: what Cinder cached
		for _, v := range w.internal.volumes(b) {
			w.internal.delete(b, v.ID)
		}
	}()
	return measure(b, w, func(image string) {
		within(b, "Cinder has cached the image", func() bool {
			return slices.ContainsFunc(w.internal.volumes(b), func(v volume) bool {
				return strings.Contains(v.Name, image) && v.Status == "available"
			})
		})
	})
}

// measure waits with cached until an image is in the cache.
func measure(b *testing.B, w *world, cached func(image string)) figures {
	b.Helper()
	d := newDisk(b, uint64(time.Now().UnixNano()), 1024*mib, 690*mib)
	var f figures
	// The first volume of all on a new pool takes Cinder a second more, whatever it is made from.
	w.demo.delete(b, w.demo.make(b, wanted{Type: "rbd1"}).ID)
	raw, qcow2 := w.upload(b, d.path, "raw", nil), w.upload(b, d.qcow2(b), "qcow2", nil)
	f.firstRaw = w.timed(b, raw)
	cached(raw)
	f.firstQcow2 = w.timed(b, qcow2)
	cached(qcow2)

	log := lab.logged(b, "cinder-volume")
	hits := make([]time.Duration, 10)
	for i := range hits {
		hits[i] = w.timed(b, raw)
	}
	f.hit, f.inside = median(hits), median(inside(b, log()))

	volumes, took := w.timedAll(b, 50, wanted{Image: raw, Type: "rbd1"})
	f.burst = 50 / took.Seconds()
	f.deletes = 50 / w.deleteAll(b, volumes, 8).Seconds()
	return f
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

func median(of []time.Duration) time.Duration {
	slices.Sort(of)
	return of[len(of)/2]
}
