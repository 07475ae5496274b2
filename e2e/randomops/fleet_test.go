package randomops

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"time"

	"pgregory.net/rapid"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/backends/backendtest"
	"github.com/clonecache/clonecache/plugin/catalog"
)

// hostEnv holds what a process is told that is one of several hosts.
const hostEnv = "RANDOMOPS_HOST"

// hostOrders are that.
type hostOrders struct {
	Dir, Socket, Name string
	Catalog           catalog.Access
	Settings          settings
}

// wish is a line that a host is sent.
type wish struct {
	Op     *op `json:",omitempty"` // to do; nil: say what there is
	KillAt int `json:",omitempty"` // it kills itself at that step from now on, if it is not 0
}

// reply is what it answers.
type reply struct {
	Result result
	Told   told
	Broken string // an error that is no result
}

// beHost is a host, until its standard input ends.
func beHost() error {
	var o hostOrders
	if err := json.Unmarshal([]byte(os.Getenv(hostEnv)), &o); err != nil {
		return err
	}
	var left atomic.Int64
	step := func() {
		if left.Add(-1) == 0 {
			die()
		}
	}
	pool, err := dialPool(o.Socket, step)
	if err != nil {
		return err
	}
	ctx := context.Background()
	w := &world{
		dir: o.Dir, set: o.Settings, host: seat{o.Name, pool, o.Catalog},
		now: func() time.Time { step(); return time.Now() },
	}
	if err := w.open(ctx); err != nil {
		return err
	}
	in, out := json.NewDecoder(os.Stdin), json.NewEncoder(os.Stdout)
	if err := out.Encode(reply{}); err != nil { // it is up
		return err
	}
	for {
		var asked wish
		if err := in.Decode(&asked); errors.Is(err, io.EOF) {
			return w.Close(ctx)
		} else if err != nil {
			return err
		}
		if asked.KillAt > 0 {
			left.Store(int64(asked.KillAt))
		}
		if err := out.Encode(w.grant(ctx, asked)); err != nil {
			return err
		}
	}
}

func (w *world) grant(ctx context.Context, asked wish) (r reply) {
	var err error
	switch {
	case asked.Op == nil:
		r.Told, err = w.tell(ctx)
	case asked.Op.Do == loseImage:
		r.Result.EntryID, err = w.imageVolumeOf(ctx, *asked.Op)
		r.Result.Err = problemOf(err)
		err = nil
	default:
		r.Result, err = w.act(ctx, *asked.Op)
	}
	if err != nil {
		r.Broken = err.Error()
	}
	return r
}

// imageVolumeOf is that of the ready entry of a content.
func (w *world) imageVolumeOf(ctx context.Context, o op) (string, error) {
	e, err := w.readyEntry(ctx, o)
	return e.ImageVolume, err
}

// host is such a process.
type host struct {
	orders hostOrders
	cmd    *exec.Cmd
	in     io.WriteCloser
	out    *json.Decoder
}

// start starts it, and waits until it is up.
func (h *host) start() (err error) {
	text, err := json.Marshal(h.orders)
	if err != nil {
		return err
	}
	h.cmd = exec.Command(os.Args[0])
	h.cmd.Env = append(os.Environ(), hostEnv+"="+string(text))
	h.cmd.Stderr = os.Stderr
	if h.in, err = h.cmd.StdinPipe(); err != nil {
		return err
	}
	out, err := h.cmd.StdoutPipe()
	if err != nil {
		return err
	}
	h.out = json.NewDecoder(out)
	if err := h.cmd.Start(); err != nil {
		return err
	}
	defer h.watched()()
	var up reply
	if err := h.out.Decode(&up); err != nil {
		return errors.Join(fmt.Errorf("%s does not start: %w", h.orders.Name, err), h.cmd.Wait())
	}
	return nil
}

// hung is when a host that does not answer is made to tell where it hangs: long after whatever it waits for itself.
const hung = 5 * time.Minute

// watched lets the host print its goroutines and end if its answer does not come until the returned func is called.
func (h *host) watched() func() bool {
	return time.AfterFunc(hung, func() { _ = h.cmd.Process.Signal(syscall.SIGQUIT) }).Stop
}

// stop ends it in order.
func (h *host) stop() error {
	defer h.watched()()
	return errors.Join(h.in.Close(), h.cmd.Wait())
}

// ask has it do something. errDied: it was killed meanwhile.
func (h *host) ask(w wish) (r reply, err error) {
	defer h.watched()()
	if err := json.NewEncoder(h.in).Encode(w); err != nil {
		return r, errors.Join(errDied, err)
	}
	if err := h.out.Decode(&r); err != nil {
		return r, errors.Join(errDied, err)
	}
	if r.Broken != "" {
		return r, fmt.Errorf("%s: %s", h.orders.Name, r.Broken)
	}
	return r, nil
}

var errDied = errors.New("the host has died")

// fleet is several hosts on one pool and one catalog.
type fleet struct {
	*world // images and pool, and no plugin
	hosts  []*host
	asked  int // who was asked last, and knows all that it has answered
	pool   io.Closer
}

const fleetSize = 3

func newFleet(dir string, shared catalog.Access, memory *backendtest.Memory) (*fleet, error) {
	f := &fleet{world: &world{dir: dir, memory: memory, backend: memory}}
	if err := os.MkdirAll(filepath.Join(dir, "images", "sums"), 0o755); err != nil {
		return nil, err
	}
	socket := filepath.Join(dir, "pool")
	var err error
	if f.pool, err = servePool(memory, socket); err != nil {
		return nil, err
	}
	for n := range fleetSize {
		f.hosts = append(f.hosts, &host{orders: hostOrders{Dir: dir, Socket: socket, Name: fmt.Sprintf("host-%d", n), Catalog: shared}})
	}
	return f, f.each((*host).start)
}

// each does something with each host.
func (f *fleet) each(do func(*host) error) error {
	for _, h := range f.hosts {
		if err := do(h); err != nil {
			return err
		}
	}
	return nil
}

func (f *fleet) close() error {
	return errors.Join(f.each((*host).stop), f.pool.Close())
}

// act has a host do an operation, or does what happens behind the hosts' backs.
func (f *fleet) act(ctx context.Context, o op) (result, error) {
	switch o.Do {
	case loseVolume, foreign, setImage:
		return f.world.act(ctx, o)
	case restart:
		f.asked = o.Host
		h := f.hosts[o.Host]
		return result{At: time.Now()}, errors.Join(h.stop(), h.start())
	case configure:
		return result{At: time.Now()}, f.configure(*o.Settings)
	case loseImage:
		return f.loseImage(ctx, o)
	default:
		f.asked = o.Host
		r, err := f.hosts[o.Host].ask(wish{Op: &o})
		return r.Result, err
	}
}

func (f *fleet) configure(set settings) error {
	f.set = set
	return errors.Join(f.each((*host).stop), f.each(func(h *host) error {
		h.orders.Settings = set
		return h.start()
	}))
}

func (f *fleet) loseImage(ctx context.Context, o op) (result, error) {
	r, err := f.hosts[o.Host].ask(wish{Op: &o})
	if err == nil && r.Result.Err == nothing {
		err = f.loseImageVolume(ctx, 0, backends.ImageVolumeID(r.Result.EntryID))
		r.Result.EntryID = ""
	}
	return r.Result, err
}

// observe sees what the host says that was asked last.
func (f *fleet) observe(ctx context.Context) (observed, error) {
	r, err := f.hosts[f.asked].ask(wish{})
	if err != nil {
		return observed{}, err
	}
	return f.beside(ctx, r.Told)
}

// kill has a host do a batch of operations until it kills itself. The others go on.
func (f *fleet) kill(t *rapid.T, r *run, o op) {
	h := f.hosts[o.Host]
	f.asked = o.Host
	var last *op
	for i, next := range o.Batch {
		next.Host = o.Host
		got, err := f.actDoomed(t.Context(), next, wish{KillAt: o.KillAt}, i == 0)
		if errors.Is(err, errDied) {
			last = &next
			break
		}
		t.Logf("\t%s\n\t-> %s", next, got)
		if err != nil {
			t.Fatalf("%s: %v", next, err)
		}
		r.explain(t, next, got)
	}
	_ = h.cmd.Process.Kill() // it may be dead
	if err := h.cmd.Wait(); !killed(err) {
		t.Fatalf("%s was not killed: %v", h.orders.Name, err)
	}
	t.Logf("%s\n\t-> killed in %v", o, last)
	if err := h.start(); err != nil {
		t.Fatal(err)
	}
	r.tally[fmt.Sprintf("kill: %t that an operation was at it", last != nil)]++
	if last == nil {
		r.model.restarted()
		r.look(t, op{Do: restart})
		return
	}
	r.survive(t, *last)
	r.do(t, *last)
}

// actDoomed does an operation of a batch.
func (f *fleet) actDoomed(ctx context.Context, o op, w wish, first bool) (result, error) {
	if o.Do == loseVolume || o.Do == foreign || o.Do == setImage {
		return f.act(ctx, o)
	}
	if first {
		w.Op = &o
		r, err := f.hosts[o.Host].ask(w)
		return r.Result, err
	}
	return f.act(ctx, o)
}
