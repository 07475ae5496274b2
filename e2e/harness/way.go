package harness

import (
	"io"
	"net"
	"sync"
	"testing"
)

// Way leads to a server, and can be cut as a network is: what is sent on it arrives nowhere, and nobody is told. It may be
// used from several goroutines.
type Way struct {
	Address string // to connect to instead of the server's

	to       string
	listener net.Listener
	all      sync.WaitGroup

	mu    sync.Mutex
	whole *sync.Cond
	cut   bool
	ended bool
	conns map[net.Conn]bool
}

// NewWay leads to a TCP address until the test ends.
func NewWay(tb testing.TB, to string) *Way {
	tb.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	w := &Way{Address: l.Addr().String(), to: to, listener: l, conns: map[net.Conn]bool{}}
	w.whole = sync.NewCond(&w.mu)
	w.all.Go(w.accept)
	tb.Cleanup(w.close)
	return w
}

// Cut lets nothing through from now on.
func (w *Way) Cut() { w.set(true) }

// Mend lets new connections through. Those that were cut end.
func (w *Way) Mend() {
	w.mu.Lock()
	for c := range w.conns {
		_ = c.Close() // their ends notice
	}
	w.mu.Unlock()
	w.set(false)
}

func (w *Way) set(cut bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.cut = cut
	w.whole.Broadcast()
}

func (w *Way) close() {
	_ = w.listener.Close()
	w.mu.Lock()
	w.ended = true
	for c := range w.conns {
		_ = c.Close()
	}
	w.whole.Broadcast()
	w.mu.Unlock()
	w.all.Wait()
}

func (w *Way) accept() {
	for {
		from, err := w.listener.Accept()
		if err != nil {
			return
		}
		w.all.Go(func() { w.lead(from) })
	}
}

// lead carries one connection, in both directions.
func (w *Way) lead(from net.Conn) {
	defer w.drop(from)
	if !w.keep(from) || !w.passes() {
		return
	}
	to, err := net.Dial("tcp", w.to)
	if err != nil {
		return
	}
	defer w.drop(to)
	if !w.keep(to) {
		return
	}
	back := make(chan struct{})
	go func() {
		defer close(back)
		w.carry(from, to)
		_ = from.Close()
	}()
	w.carry(to, from)
	_ = to.Close()
	<-back
}

// carry copies until one end is gone. What arrives while the way is cut is kept until it is mended.
func (w *Way) carry(to io.Writer, from io.Reader) {
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		if err != nil || !w.passes() {
			return
		}
		if _, err := to.Write(buf[:n]); err != nil {
			return
		}
	}
}

// passes waits until the way is whole; false: it has ended.
func (w *Way) passes() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	for w.cut && !w.ended {
		w.whole.Wait()
	}
	return !w.ended
}

// keep has a connection closed with the way; false: that has ended.
func (w *Way) keep(c net.Conn) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.conns[c] = true
	return !w.ended
}

func (w *Way) drop(c net.Conn) {
	_ = c.Close()
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.conns, c)
}
