package randomops

import (
	"encoding/json"
	"fmt"

	"pgregory.net/rapid"
)

// verb is a kind of operation.
type verb string

const (
	create       verb = "create"        // a volume of Image
	repeat       verb = "repeat"        // the request that made Volume
	deleteVolume verb = "delete-volume" // by the API
	loseVolume   verb = "lose-volume"   // behind the plugin's back
	foreign      verb = "foreign"       // somebody else takes the name of Volume
	evict        verb = "evict"         // delete the entry of Content in Store
	pin          verb = "pin"
	unpin        verb = "unpin"
	loseImage    verb = "lose-image-volume" // of Content in Store, behind the plugin's back
	setImage     verb = "set-image"         // Image has Content now, or is gone
	prefetch     verb = "prefetch"          // Image, for nobody
	prune        verb = "prune"
	clean        verb = "clean"
	check        verb = "check" // with repair
	restart      verb = "restart"
	configure    verb = "configure" // restart with other bounds and quota
	harm         verb = "harm"      // restart with a catalog that was lost or damaged
	kill         verb = "kill"      // another process does Batch and is killed at its KillAt-th step
)

// op is one operation. It is plain data, so that a sequence of them can be printed, shrunk, and handed
// to a process that is going to be killed. What an operation does not need is zero.
type op struct {
	Do       verb
	Host     int       `json:",omitempty"` // that is asked, of several
	Image    int       `json:",omitempty"` // of imageNames
	Volume   int       `json:",omitempty"` // of volumeNames
	Taken    bool      `json:",omitempty"` // for create: whether Volume may be there already
	Size     sizing    `json:",omitempty"`
	Content  int       `json:",omitempty"` // of contents; for setImage -1 is gone
	Promised int       `json:",omitempty"` // for setImage: the content whose digest is promised, or -1
	Store    int       `json:",omitempty"` // of storeNames
	Force    bool      `json:",omitempty"`
	Settings *settings `json:",omitempty"`
	Harm     harmKind  `json:",omitempty"`
	Batch    []op      `json:",omitempty"`
	KillAt   int       `json:",omitempty"`
}

// sizing is the size that a request asks for.
type sizing string

const (
	auto  sizing = "auto"
	exact sizing = "exact"
	grown sizing = "grown"
	small sizing = "small" // smaller than the image
)

// harmKind is what is done to the catalog's file.
type harmKind string

const (
	lost      harmKind = "lost"
	garbled   harmKind = "garbled"   // another file's bytes
	truncated harmKind = "truncated" // to half
	scratched harmKind = "scratched" // a page in the middle
)

// settings are what a restart may change. Zero is unbounded.
type settings struct {
	MaxBytes, FilesMaxBytes int64
	MaxCount, FilesMaxCount int
	Volumes                 int64 // of the quota
}

func (o op) String() string {
	text, err := json.Marshal(o)
	if err != nil {
		return fmt.Sprintf("%#v", o)
	}
	return string(text)
}

var (
	imageNames  = []string{"a.raw", "b.raw", "c.img", "sums/d.raw", "sums/e.img"}
	volumeNames = []string{"v0", "v1", "v2", "v3", "v4", "v5", "v6", "v7", "v8", "v9"}
)

// share is how often an operation is drawn, of 100.
type share struct {
	verb  verb
	share int
}

// mix is where clones are independent and processes can be killed; memoryMix is for a backend in memory.
var (
	mix = []share{
		{create, 40}, {repeat, 7}, {deleteVolume, 10}, {setImage, 9}, {evict, 7}, {pin, 4}, {unpin, 3},
		{loseVolume, 2}, {foreign, 1}, {loseImage, 3}, {prune, 2}, {clean, 2}, {check, 2},
		{restart, 1}, {configure, 3}, {harm, 1}, {kill, 3},
	}
	memoryMix = []share{
		{create, 40}, {repeat, 7}, {deleteVolume, 13}, {setImage, 8}, {evict, 8}, {pin, 4}, {unpin, 3},
		{loseVolume, 2}, {foreign, 1}, {loseImage, 2}, {prune, 2}, {clean, 3}, {check, 2},
		{restart, 1}, {configure, 3}, {harm, 1},
	}
)

// uniform draws from 0 to n-1, each as often: rapid's own integers are mostly small.
func uniform(n int) *rapid.Generator[int] {
	return rapid.Custom(func(t *rapid.T) int {
		v := 0
		for range 12 {
			v <<= 1
			if rapid.Bool().Draw(t, "bit") {
				v++
			}
		}
		return v % n
	})
}

// pick draws one of several, each as often.
func pick[V any](t *rapid.T, label string, from ...V) V {
	return from[uniform(len(from)).Draw(t, label)]
}

// drawOp draws an operation from a mix.
func drawOp(mix []share) *rapid.Generator[op] {
	return rapid.Custom(func(t *rapid.T) op {
		n := uniform(100).Draw(t, "verb")
		for _, s := range mix {
			if n -= s.share; n < 0 {
				return drawFor(t, s.verb)
			}
		}
		return drawFor(t, create)
	})
}

func drawFor(t *rapid.T, v verb) op {
	o := op{Do: v}
	switch v {
	case create:
		o.Image = uniform(len(imageNames)).Draw(t, "image")
		o.Volume = drawVolume(t)
		o.Size = pick(t, "size", auto, auto, auto, auto, exact, exact, exact, grown, grown, grown, grown, small)
		o.Taken = uniform(12).Draw(t, "taken") == 11
	case prefetch:
		o.Image, o.Size = uniform(len(imageNames)).Draw(t, "image"), auto
	case repeat, deleteVolume, loseVolume, foreign:
		o.Volume = drawVolume(t)
	case evict:
		o.Content, o.Store = drawContent(t), drawStore(t)
		o.Force = rapid.Bool().Draw(t, "force")
	case pin, unpin, loseImage:
		o.Content, o.Store = drawContent(t), drawStore(t)
	case setImage:
		drawImage(t, &o)
	case configure:
		s := drawSettings(t)
		o.Settings = &s
	case harm:
		o.Harm = pick(t, "harm", lost, garbled, truncated, scratched)
	case kill:
		o.Batch = rapid.SliceOfN(drawOp(mix[:8]), 1, 3).Draw(t, "batch")
		o.KillAt = 1 + uniform(20).Draw(t, "kill at")
	case prune, clean, check, restart:
	}
	return o
}

func drawVolume(t *rapid.T) int { return uniform(len(volumeNames)).Draw(t, "volume") }

func drawContent(t *rapid.T) int { return uniform(len(contentSizes)).Draw(t, "content") }

// drawStore is the backend mostly.
func drawStore(t *rapid.T) int { return pick(t, "store", 0, 0, 0, 1) }

// drawImage lets an image change, or go; one in five of those with a list of digests gets a wrong one.
func drawImage(t *rapid.T, o *op) {
	o.Image = uniform(len(imageNames)).Draw(t, "image")
	o.Content, o.Promised = drawContent(t), -1
	if uniform(16).Draw(t, "gone") == 15 {
		o.Content = -1
	}
	if o.Content >= 0 && listed(o.Image) {
		o.Promised = o.Content
		if uniform(5).Draw(t, "wrong") == 4 {
			o.Promised = drawContent(t)
		}
	}
}

func drawSettings(t *rapid.T) settings {
	return settings{
		MaxBytes:      pick[int64](t, "max bytes", 0, 0, 256<<10, 512<<10, 1<<20, 2<<20),
		MaxCount:      pick(t, "max count", 0, 1, 2, 3, 4),
		FilesMaxBytes: pick[int64](t, "files' max bytes", 512<<10, 2<<20, 4<<20),
		FilesMaxCount: pick(t, "files' max count", 0, 1, 2, 4),
		Volumes:       pick[int64](t, "quota", 0, 0, 0, 1, 2, 3, 5),
	}
}
