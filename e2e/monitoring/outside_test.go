//go:build databases

package monitoring

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/clonecache/clonecache/e2e/harness"
)

// outside is a server that daemons ask, and which comes and goes: nobody listens at its address meanwhile.
type outside struct {
	address string
	handler http.Handler
	server  *http.Server
}

// newOutside is one that is not there yet.
func newOutside(t *testing.T, handler http.Handler) *outside {
	t.Helper()
	o := &outside{address: freeAddress(t), handler: handler}
	t.Cleanup(o.goes)
	return o
}

func (o *outside) url() string { return "http://" + o.address }

func (o *outside) comes(t *testing.T) {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", o.address)
	if err != nil {
		t.Fatal(err)
	}
	o.server = &http.Server{Handler: o.handler, ReadHeaderTimeout: time.Minute}
	go func() { _ = o.server.Serve(l) }() // ends with goes
}

func (o *outside) goes() {
	if o.server != nil {
		_ = o.server.Close()
	}
}

// answers is a receiver of webhooks that says the same to each event, until it is told to say something else.
type answers struct{ status atomic.Int64 }

func answering(status int64) *answers {
	a := &answers{}
	a.status.Store(status)
	return a
}

func (a *answers) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	w.WriteHeader(int(a.status.Load()))
}

// sameUnderEachName serves one file of a source, whatever it is asked for.
type sameUnderEachName struct {
	*harness.WebSource
	file string
}

func (s sameUnderEachName) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	r = r.Clone(r.Context())
	r.URL.Path = "/" + s.file
	s.WebSource.ServeHTTP(w, r)
}

// keystone answers what the quota of the internal tenant takes: a token, and Cinder's quota of its project.
func keystone(at *string) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v3/auth/tokens", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X-Subject-Token", "token")
		w.WriteHeader(http.StatusCreated)
		fmt.Fprintf(w, `{"token":{"expires_at":%q,"user":{"id":"u","name":"cache"},"project":{"id":"p","name":"cache"},"roles":[{"name":"member"}],
			"catalog":[{"type":"volumev3","endpoints":[{"interface":"public","url":"%s/v3/p"}]}]}}`, time.Now().Add(time.Hour).UTC().Format(time.RFC3339), *at)
	})
	mux.HandleFunc("GET /v3/p/os-quota-sets/p", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, `{"quota_set":{"id":"p","volumes":{"limit":10,"in_use":0,"reserved":0},"gigabytes":{"limit":100,"in_use":0,"reserved":0}}}`)
	})
	mux.HandleFunc("GET /v3/p/volumes/detail", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"volumes":[]}`) })
	mux.HandleFunc("GET /v3/p/types", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"volume_types":[]}`) })
	return mux
}

// keep does something again and again, until stop has returned.
func keep(t *testing.T, do func(context.Context, int)) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		pause := time.NewTicker(50 * time.Millisecond)
		defer pause.Stop()
		for n := 0; ctx.Err() == nil; n++ {
			do(ctx, n)
			select {
			case <-pause.C:
			case <-ctx.Done():
			}
		}
	}()
	stop = func() { cancel(); <-ended }
	t.Cleanup(stop)
	return stop
}

// takeAllSpace fills a filesystem until nothing more fits, and returns what gives the space back.
func takeAllSpace(t *testing.T, dir string) (giveBack func()) {
	t.Helper()
	path := filepath.Join(dir, "ballast")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	at := int64(0)
	for piece := int64(16 * harness.MiB); piece >= 4<<10; {
		if unix.Fallocate(int(f.Fd()), 0, at, piece) != nil {
			piece /= 2
			continue
		}
		at += piece
	}
	return func() {
		if err := os.Remove(path); err != nil && !os.IsNotExist(err) {
			t.Error(err)
		}
	}
}

// frozen holds all that is written to a filesystem up for a while.
func frozen(ctx context.Context, dir string, d time.Duration) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	const freeze, thaw = 0xc0045877, 0xc0045878 // FIFREEZE, FITHAW
	if err := unix.IoctlSetInt(int(f.Fd()), freeze, 0); err != nil {
		return err
	}
	held := time.NewTimer(d)
	defer held.Stop()
	select {
	case <-held.C:
	case <-ctx.Done():
	}
	return unix.IoctlSetInt(int(f.Fd()), thaw, 0)
}
