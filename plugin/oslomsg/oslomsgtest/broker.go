// Package oslomsgtest has a broker for tests that speaks as much of AMQP 0-9-1 as a listener needs: it lets anybody in,
// has every exchange but those it is told to lack, and delivers what a test sends to whoever consumes. It keeps nothing.
package oslomsgtest

import (
	"bufio"
	"context"
	"encoding/binary"
	"io"
	"net"
	"sync"
	"testing"
)

// Broker listens on loopback until the test ends.
type Broker struct {
	Address string // HOST:PORT

	mu        sync.Mutex // guards what follows, and writing to connections
	lacking   bool       // it has no exchange
	consumers map[net.Conn]*consumer
	ahead     map[net.Conn]int  // how much may be delivered that is not acknowledged yet; 0: any number
	asked     map[string]string // what was last declared and bound: exchange, queue, key
	listening chan struct{}     // gets a value for each consumer
}

type consumer struct {
	channel   uint16
	tag       string
	ahead     int
	waiting   [][]byte
	delivered uint64
	taken     uint64 // of these, that were acknowledged
}

// Start starts one.
func Start(t testing.TB) *Broker {
	t.Helper()
	var listen net.ListenConfig
	l, err := listen.Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b := &Broker{
		Address: l.Addr().String(), consumers: make(map[net.Conn]*consumer), ahead: make(map[net.Conn]int), asked: make(map[string]string),
		listening: make(chan struct{}, 16),
	}
	t.Cleanup(func() { l.Close(); b.Cut() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go b.serve(c)
		}
	}()
	return b
}

// Lack says whether there is no exchange, as before a service's first notification.
func (b *Broker) Lack(is bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.lacking = is
}

// Listening gets a value whenever somebody begins to consume.
func (b *Broker) Listening() <-chan struct{} { return b.listening }

// Asked is the exchange, the queue, or the routing key ("key") that was asked for last.
func (b *Broker) Asked(what string) string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.asked[what]
}

// Cut ends the connections of all who consume.
func (b *Broker) Cut() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for c := range b.consumers {
		c.Close()
		delete(b.consumers, c)
	}
}

// Send delivers a body to all who consume, once each has acknowledged enough of what came before.
func (b *Broker) Send(body []byte) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for c, to := range b.consumers {
		to.waiting = append(to.waiting, body)
		to.deliver(c)
	}
}

// Untaken is how much was delivered to all who consume now and is not acknowledged.
func (b *Broker) Untaken() (n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, to := range b.consumers {
		n += int(to.delivered - to.taken)
	}
	return n
}

func (to *consumer) deliver(c net.Conn) {
	for len(to.waiting) > 0 && (to.ahead == 0 || to.delivered-to.taken < uint64(to.ahead)) {
		body := to.waiting[0]
		to.waiting = to.waiting[1:]
		to.delivered++
		deliver := arguments(binary.BigEndian.AppendUint64(message(60, 60).short(to.tag), to.delivered))
		deliver = append(deliver, 0) // not redelivered
		deliver = deliver.short("").short("")
		header := binary.BigEndian.AppendUint64(arguments{0, 60, 0, 0}, uint64(len(body)))
		header = append(header, 0, 0) // no properties
		write(c, 1, to.channel, deliver)
		write(c, 2, to.channel, header)
		write(c, 3, to.channel, body)
	}
}

// arguments are a method and what it says.
type arguments []byte

func message(class, method uint16) arguments {
	return binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(nil, class), method)
}

func (a arguments) short(s string) arguments { return append(append(a, byte(len(s))), s...) }

func (a arguments) long(s string) arguments {
	return append(binary.BigEndian.AppendUint32(a, uint32(len(s))), s...)
}

func write(w io.Writer, kind byte, channel uint16, payload []byte) {
	frame := binary.BigEndian.AppendUint16([]byte{kind}, channel)
	frame = binary.BigEndian.AppendUint32(frame, uint32(len(payload)))
	_, _ = w.Write(append(append(frame, payload...), 0xCE)) // who does not read it has gone
}

func (b *Broker) serve(c net.Conn) {
	defer c.Close()
	r := bufio.NewReader(c)
	if _, err := r.Discard(8); err != nil { // "AMQP", version
		return
	}
	write(c, 1, 0, append(message(10, 10), 0, 9, 0, 0, 0, 0).long("PLAIN").long("en_US"))
	for {
		var head [7]byte
		if _, err := io.ReadFull(r, head[:]); err != nil {
			return
		}
		payload := make([]byte, binary.BigEndian.Uint32(head[3:])+1)
		if _, err := io.ReadFull(r, payload); err != nil {
			return
		}
		if head[0] == 1 {
			b.answer(c, binary.BigEndian.Uint16(head[1:]), payload[:len(payload)-1])
		}
	}
}

// shortAt reads a short string, and returns where it ends.
func shortAt(p []byte, at int) (string, int) {
	end := at + 1 + int(p[at])
	return string(p[at+1 : end]), end
}

// answer answers one method.
func (b *Broker) answer(c net.Conn, channel uint16, p []byte) {
	b.mu.Lock()
	defer b.mu.Unlock()
	class, method := binary.BigEndian.Uint16(p), binary.BigEndian.Uint16(p[2:])
	reply := message(class, method+1)
	switch [2]uint16{class, method} {
	case [2]uint16{10, 11}: // start-ok: tune
		reply = append(message(10, 30), 0, 0, 0, 2, 0, 0, 0, 60)
	case [2]uint16{10, 31}, [2]uint16{10, 51}, [2]uint16{20, 41}: // tune-ok, close-ok
		return
	case [2]uint16{10, 40}:
		reply = reply.short("")
	case [2]uint16{20, 10}:
		reply = reply.long("")
	case [2]uint16{40, 10}:
		b.asked["exchange"], _ = shortAt(p, 6)
		if b.lacking {
			reply = append(message(20, 40).reason(404, "no exchange"), 0, 40, 0, 10)
		}
	case [2]uint16{50, 10}:
		b.asked["queue"], _ = shortAt(p, 6)
		reply = append(reply.short(b.asked["queue"]), 0, 0, 0, 0, 0, 0, 0, 0)
	case [2]uint16{50, 20}:
		_, at := shortAt(p, 6)
		_, at = shortAt(p, at)
		b.asked["key"], _ = shortAt(p, at)
	case [2]uint16{60, 10}:
		b.ahead[c] = int(binary.BigEndian.Uint16(p[8:]))
	case [2]uint16{60, 80}:
		if to, is := b.consumers[c]; is {
			to.taken++
			to.deliver(c)
		}
		return
	case [2]uint16{60, 20}:
		_, at := shortAt(p, 6)
		tag, at := shortAt(p, at)
		write(c, 1, channel, reply.short(tag))
		const noAck = 2
		to := &consumer{channel: channel, tag: tag, ahead: b.ahead[c]}
		if p[at]&noAck != 0 {
			to.ahead = 0
		}
		b.consumers[c] = to
		b.listening <- struct{}{}
		return
	}
	write(c, 1, channel, reply)
}

// reason is why a channel is closed.
func (a arguments) reason(code uint16, text string) arguments {
	return arguments(binary.BigEndian.AppendUint16(a, code)).short(text)
}
