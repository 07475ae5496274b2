package harness

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/plugin"
	"github.com/clonecache/clonecache/plugin/api"
)

// Burst is a daemon under requests from several sides, until it is killed.
type Burst struct {
	*Daemon
	Request    api.CreateRequest // without the volume's name
	Requesters int

	mu       sync.Mutex
	asked    []string
	answered []string
	bypassed []plugin.Answer
}

// LoadAndKill asks for volumes, whose names begin with prefix, and kills the daemon after a while.
func (b *Burst) LoadAndKill(tb testing.TB, prefix string, after time.Duration) {
	tb.Helper()
	ctx, cancel := context.WithCancel(tb.Context())
	defer cancel()
	var all sync.WaitGroup
	for n := range b.Requesters {
		client := b.Client(tb)
		all.Go(func() { b.load(ctx, client, fmt.Sprintf("%s-%d", prefix, n)) })
	}
	<-time.After(after) // the moment of the kill is what varies
	b.Kill()
	cancel()
	all.Wait()
}

// load asks for one volume after another until the daemon is gone.
func (b *Burst) load(ctx context.Context, client *api.Client, prefix string) {
	for i := 0; ; i++ {
		r := b.Request
		r.Volume = backends.VolumeName(fmt.Sprintf("%s-%d", prefix, i))
		b.ask(r.Volume)
		a, err := client.CreateVolume(ctx, r, nil)
		if err != nil {
			return
		}
		b.hear(a)
	}
}

func (b *Burst) ask(name backends.VolumeName) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.asked = append(b.asked, string(name))
}

func (b *Burst) hear(a plugin.Answer) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if a.Outcome == plugin.Bypassed {
		b.bypassed = append(b.bypassed, a)
		return
	}
	b.answered = append(b.answered, string(a.Volume))
}

// Answered are the names of all volumes that were answered, Asked of all that were asked for, and
// Bypassed the answers of those that were not made. Nothing may be asked meanwhile.
func (b *Burst) Answered() []string { return b.answered }

// Asked: see Answered.
func (b *Burst) Asked() []string { return b.asked }

// Bypassed: see Answered.
func (b *Burst) Bypassed() []plugin.Answer { return b.bypassed }
