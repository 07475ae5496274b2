package harness

import (
	"bytes"
	"math/rand/v2"
)

// Packets of MariaDB's protocol (mariadb.com/kb/en/clientserver-protocol): three bytes of length, the number, and what is said. The
// driver sends COMMIT in one piece and nothing behind it until it is answered.
var (
	commitPacket   = []byte("\x07\x00\x00\x00\x03COMMIT")
	rollbackPacket = []byte("\x09\x00\x00\x00\x03ROLLBACK")
	// deadlockAnswer is error 1213, SQLSTATE 40001.
	deadlockAnswer = []byte("\x15\x00\x00\x01\xff\xbd\x04#40001lost a race.")
)

// lottery decides which transactions are lost.
type lottery struct {
	share float64
	draw  *rand.Rand
	lost  int
}

// LoseCommits lets a share of the transactions that are committed on this way, which is not encrypted, come to nothing: the
// client is told that others were first (1213), as a Galera node says it.
func (w *Way) LoseCommits(share float64, seed uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.lost = &lottery{share: share, draw: rand.New(rand.NewPCG(seed, 1213))}
}

// LostCommits is how many transactions were lost so.
func (w *Way) LostCommits() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.lost == nil {
		return 0
	}
	return w.lost.lost
}

// loses tells whether what a client sends is a COMMIT that is to be lost.
func (w *Way) loses(p []byte) bool {
	if !bytes.Equal(p, commitPacket) {
		return false
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.lost == nil || w.lost.draw.Float64() >= w.lost.share {
		return false
	}
	w.lost.lost++
	return true
}
