package oslomsg

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/sirupsen/logrus"
)

// Link says how a connection is made and kept.
type Link struct {
	Address Address
	// Password gives the user's password, each time that a connection is made: a file may have changed.
	Password func() (string, error)
	TLS      *tls.Config // for amqps; nil: the system's authorities
	Name     string      // what RabbitMQ shows of the connection
	Log      logrus.FieldLogger
}

const (
	// dialTime bounds making one connection, to its end.
	dialTime = 10 * time.Second
	// heartbeat finds a server that is silently gone, after twice this time.
	heartbeat = 10 * time.Second
	// closeTime is how long the server may take to let a connection go.
	closeTime = time.Second
	// firstPause and longestPause are between attempts; each pause is about twice the one before.
	firstPause   = 500 * time.Millisecond
	longestPause = 30 * time.Second
	// steady is how long a connection lives that counts as a good one: the next pause is the first again.
	steady = 30 * time.Second
)

// Keep connects, calls use with the connection, and does so again whenever use returns, until ctx ends; between
// attempts it waits, longer each time that it fails, and tries the servers of the address in turn. The context of use ends with the connection.
// Keep logs when the connection is there and once when it is gone, and returns ctx's error, after use has returned.
func (l Link) Keep(ctx context.Context, use func(context.Context, *amqp.Connection) error) error {
	pause, logged := firstPause, false
	for n := 0; ; n++ {
		begun := time.Now()
		err := l.once(ctx, l.Address.hosts[n%len(l.Address.hosts)], func(ctx context.Context, c *amqp.Connection) error {
			l.Log.WithField("rabbitmq", l.Address.String()).Info("connected to RabbitMQ")
			logged = false
			return use(ctx, c)
		})
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if !logged {
			l.Log.WithField("rabbitmq", l.Address.String()).WithError(err).Warn("RabbitMQ is not there, or was lost; trying again")
			logged = true
		}
		if time.Since(begun) > steady {
			pause = firstPause
		}
		if err := wait(ctx, pause/2+rand.N(pause)); err != nil {
			return err
		}
		pause = min(2*pause, longestPause)
	}
}

func wait(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// once is one connection, from its beginning to its end. It ends within closeTime of ctx, whatever the server does: use may
// wait for an answer of it that does not come.
func (l Link) once(ctx context.Context, host string, use func(context.Context, *amqp.Connection) error) error {
	conn, err := l.dial(ctx, host)
	if err != nil {
		return err
	}
	live, lost := context.WithCancelCause(ctx)
	defer lost(nil)
	closed := conn.NotifyClose(make(chan *amqp.Error, 1))
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		select {
		case why := <-closed:
			lost(fmt.Errorf("connection to RabbitMQ at %s: %w", host, closeCause(why)))
		case <-live.Done():
			_ = conn.CloseDeadline(time.Now().Add(closeTime))
		}
	}()
	err = use(live, conn)
	if cause := context.Cause(live); cause != nil {
		err = cause
	}
	lost(nil)
	<-ended
	_ = conn.CloseDeadline(time.Now().Add(closeTime)) // it may be closed already
	return err
}

var errClosed = errors.New("closed")

func closeCause(why *amqp.Error) error {
	if why == nil {
		return errClosed
	}
	return why
}

// dial makes one connection, within dialTime and as long as ctx lives.
func (l Link) dial(ctx context.Context, host string) (*amqp.Connection, error) {
	password, err := l.Password()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, dialTime)
	defer cancel()
	scheme := "amqp://"
	if l.Address.tls {
		scheme = "amqps://"
	}
	unwatch := func() bool { return true }
	conn, err := amqp.DialConfig(scheme+host, amqp.Config{
		SASL:            []amqp.Authentication{&amqp.PlainAuth{Username: l.Address.user, Password: password}},
		Vhost:           l.Address.vhost,
		Heartbeat:       heartbeat,
		TLSClientConfig: l.Address.tlsFor(host, l.TLS),
		Properties:      amqp.Table{"connection_name": l.Name, "product": "clonecache"},
		Dial: func(network, addr string) (net.Conn, error) {
			c, err := new(net.Dialer).DialContext(ctx, network, addr)
			if err != nil {
				return nil, err
			}
			unwatch = context.AfterFunc(ctx, func() { _ = c.Close() }) // what is said then fails
			return c, nil
		},
	})
	unwatch()
	if err != nil {
		return nil, fmt.Errorf("connect to RabbitMQ at %s as %s: %w", host, l.Address.user, errors.Join(err, ctx.Err()))
	}
	return conn, nil
}
