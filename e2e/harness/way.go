package harness

import (
	"bytes"
	"io"
	"net"
	"sync"
	"sync/atomic"
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
	texts []string // see BreakBehind
	lost  *lottery // see LoseCommits; nil: none
	conns map[net.Conn]bool

	broken chan struct{}
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

// BreakBehind breaks the way once a client has sent all of these texts, one after another on one connection: the last one
// arrives, its answer does not, all connections end, and new ones lead nowhere until Mend. broken is closed then.
func (w *Way) BreakBehind(texts ...string) (broken <-chan struct{}) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.texts, w.broken = texts, make(chan struct{})
	return w.broken
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
	l := &link{w: w, client: from, server: to, answers: make(chan struct{}, 1), back: make(chan struct{})}
	go func() {
		defer close(l.back)
		l.carry(from, to, l.answered)
		_ = from.Close()
	}()
	l.carry(to, from, l.asked)
	_ = to.Close()
	<-l.back
}

// link is one connection through a way.
type link struct {
	w              *Way
	client, server net.Conn
	sent           int           // of the texts of BreakBehind
	lost           atomic.Bool   // the next answer is that of a commit that was lost
	answers        chan struct{} // has one if the server has answered
	back           chan struct{} // closed when it answers no more
}

// carry copies until one end is gone; what it copies is what pass makes of it. What arrives while the way is cut is kept until
// it is mended.
func (l *link) carry(to io.Writer, from io.Reader, pass func([]byte) []byte) {
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		if err != nil {
			return
		}
		p := pass(buf[:n])
		if !l.w.passes() {
			return
		}
		if _, err := to.Write(p); err != nil {
			return
		}
	}
}

func (l *link) answered(p []byte) []byte {
	select {
	case l.answers <- struct{}{}:
	default:
	}
	if l.lost.CompareAndSwap(true, false) {
		return deadlockAnswer
	}
	return p
}

// asked notes what the client sends. The last of BreakBehind's texts is passed on, its answer awaited, and the way broken.
func (l *link) asked(p []byte) []byte {
	if l.w.loses(p) {
		l.lost.Store(true)
		return rollbackPacket
	}
	if !l.w.isLast(&l.sent, p) {
		return p
	}
	select {
	case <-l.answers: // of what was asked before
	default:
	}
	if _, err := l.server.Write(p); err == nil {
		select {
		case <-l.answers:
		case <-l.back:
		}
	}
	l.w.mu.Lock()
	defer l.w.mu.Unlock()
	for c := range l.w.conns {
		_ = c.Close()
	}
	close(l.w.broken)
	return p
}

// isLast tells whether a client sends the last of BreakBehind's texts, having sent so many of them; then the way is cut.
func (w *Way) isLast(sent *int, p []byte) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if *sent >= len(w.texts) || !bytes.Contains(p, []byte(w.texts[*sent])) {
		return false
	}
	*sent++
	if *sent < len(w.texts) {
		return false
	}
	w.cut, w.texts = true, nil
	return true
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
