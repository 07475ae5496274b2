//go:build ceph

package rbd

import (
	"fmt"
	"strconv"
	"time"

	"github.com/clonecache/clonecache/backends"
)

// Who made an image that says nothing of itself is told by its RBD ID alone, and not always: librbd makes an ID
// of the client's number and a random one below 2^32, both hexadecimal and without leading zeroes, so that
// 4d2 a1234567 and 4d2a 1234567 are one ID. It keeps the last 14 digits of it.
const (
	idDigits     = 14
	randomDigits = 8
	// firstClient is the lowest number that mons give to clients (MIN_GLOBAL_ID).
	firstClient = 0x1000
	// clientsAhead is how far ahead the numbers of one mon may be of those of another (mon_globalid_prealloc,
	// and the next lot).
	clientsAhead = 20_000
	// farthestClient is a number that no cluster comes to.
	farthestClient = 1 << 40
)

// maker is the client that made an image, as its RBD ID says.
type maker int

const (
	another maker = iota + 1 // certainly none of ours
	perhaps                  // one of ours, or somebody else
	own                      // certainly one of ours
)

// makerOf looks at all clients that the ID can be of, up to the newest that there is.
func makerOf(rbdID string, newest uint64, ours func(client string) bool) maker {
	found := map[bool]bool{}
	for digits := 1; digits <= randomDigits && digits < len(rbdID); digits++ {
		beginning, random := rbdID[:len(rbdID)-digits], rbdID[len(rbdID)-digits:]
		if random[0] == '0' && digits > 1 {
			continue
		}
		for n := range clientsEndingIn(beginning, len(rbdID) == idDigits, newest) {
			found[ours(strconv.FormatUint(n, 16))] = true
			if len(found) == 2 {
				return perhaps
			}
		}
	}
	if found[true] {
		return own
	}
	return another
}

// clientsEndingIn are the clients whose number is these digits, or, where the ID was cut, ends in them.
func clientsEndingIn(digits string, cut bool, newest uint64) func(yield func(uint64) bool) {
	return func(yield func(uint64) bool) {
		n, err := strconv.ParseUint(digits, 16, 64)
		if err != nil {
			return
		}
		step := uint64(1) << (4 * len(digits))
		for first := true; n <= newest; first, n = false, n+step {
			whole := !first || digits[0] != '0'
			if n >= firstClient && whole && !yield(n) || !cut {
				return
			}
		}
	}
}

// maker tells whether a connection of this installation created the image with that RBD ID.
func (b *Backend) maker(s *session, rbdID string) (maker, error) {
	return b.makerAmong(s, rbdID, b.config.Holder)
}

// makerAmong is maker for the connections of any daemon.
func (b *Backend) makerAmong(s *session, rbdID, holder string) (maker, error) {
	clients, err := readIndex[client](s.images, clientKeys)
	if err != nil {
		return 0, err
	}
	ours := func(id string) bool { c, known := clients[id]; return known && c.Holder == holder }
	if m := makerOf(rbdID, farthestClient, ours); m != perhaps {
		return m, nil
	}
	newest, err := b.newestClient()
	if err != nil {
		return 0, err
	}
	return makerOf(rbdID, newest+clientsAhead, ours), nil
}

// newestClient is the number of the newest client that there can be: one is made to find out.
func (b *Backend) newestClient() (uint64, error) {
	s, err := connect(b.config)
	if err != nil {
		return 0, fmt.Errorf("connect once more: %w", err)
	}
	defer s.close()
	return strconv.ParseUint(s.client, 16, 64)
}

// perhapsOurs decides about an image of which it cannot be told whether we made it. One that cannot be opened,
// also a while later, was left by a client that died, whoever that was: nothing was ever written to it.
// backends.ErrUnavailable: look again later. backends.ErrInUse: it may be somebody else's, and stays.
func (b *Backend) perhapsOurs(rbdID string, opens bool) error {
	if opens {
		return fmt.Errorf("image %s has no record, and its RBD ID does not tell whether another client made it: %w", rbdID, backends.ErrInUse)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	now := b.config.Now()
	since, seen := b.unopened[rbdID]
	if !seen {
		b.unopened[rbdID] = now
	}
	if !seen || now.Sub(since) < makingTakes {
		return fmt.Errorf("image %s is half made, perhaps just now by another client: %w", rbdID, backends.ErrUnavailable)
	}
	delete(b.unopened, rbdID)
	return nil
}

// makingTakes is longer than any client takes to make an image that can be opened.
const makingTakes = time.Minute
