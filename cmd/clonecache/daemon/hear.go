package daemon

import (
	"context"
	"os"
	"sync"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/sirupsen/logrus"

	"github.com/clonecache/clonecache/cmd/clonecache/config"
	"github.com/clonecache/clonecache/cmd/clonecache/kinds"
	"github.com/clonecache/clonecache/plugin"
	"github.com/clonecache/clonecache/plugin/oslomsg"
)

// imageActive is what Glance says once an image's data is there.
const imageActive = "image.activate"

// heardAtMost bounds how many notifications RabbitMQ keeps for a daemon that does not read them: they are hints, of which
// one is as good as a thousand.
const heardAtMost = 100

// ears are what listens now. They may be turned to other sources from any goroutine.
type ears struct {
	mu     sync.Mutex
	stop   func() // nil: nothing is listened to
	closed bool
}

// turn has them listen to what the services of a configuration's sources say, and to nothing else.
func (e *ears) turn(cfg config.Config, log logrus.FieldLogger, soon func(source string)) (err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return nil
	}
	if e.stop != nil {
		e.stop() // a queue has one listener
	}
	e.stop, err = hear(cfg, log, soon)
	return err
}

// close ends the listening for good.
func (e *ears) close() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.closed = true
	if e.stop != nil {
		e.stop()
	}
}

// hear listens, while the cache is served, for what image services say of new images, and lets soon know of which source
// there may be one. What a message says is not believed, nor looked at but for its kind. No RabbitMQ keeps anybody from starting:
// it is tried again and again, and the sources are looked at as often as without it. stop ends it.
func hear(cfg config.Config, log logrus.FieldLogger, soon func(source string)) (stop func(), err error) {
	ctx, end := context.WithCancel(context.Background())
	var going sync.WaitGroup
	for _, s := range cfg.ImageSources {
		service, is := s.Of.(kinds.Notifying)
		if !is || service.Notifications().URL == "" {
			continue
		}
		link, subscription, err := hearing(cfg, service.Notifications(), s.Name)
		if err != nil {
			end()
			going.Wait()
			return nil, err
		}
		link.Log = log.WithField("source", s.Name)
		going.Go(func() {
			_ = link.Listen(ctx, subscription, func() { soon(s.Name) }, func(n oslomsg.Notification) { // it ends with ctx alone
				if n.Event == imageActive {
					soon(s.Name)
				}
			})
		})
	}
	return func() { end(); going.Wait() }, nil
}

// hearing is how what the service of an image source says is listened to. The queue is this daemon's own.
func hearing(cfg config.Config, n config.Notifications, source string) (oslomsg.Link, oslomsg.Subscription, error) {
	address, err := oslomsg.ParseAddress(n.URL)
	if err != nil {
		return oslomsg.Link{}, oslomsg.Subscription{}, err
	}
	host, err := os.Hostname()
	if err != nil {
		return oslomsg.Link{}, oslomsg.Subscription{}, err
	}
	instance, err := plugin.InstanceOf(string(cfg.StateDir))
	if err != nil {
		return oslomsg.Link{}, oslomsg.Subscription{}, err
	}
	return oslomsg.Link{
			Address: address, Name: "clonecache on " + host,
			Password: func() (string, error) { text, err := secretOf(n.PasswordFile)(); return string(text), err },
		}, oslomsg.Subscription{
			Exchange: n.Exchange, Topic: n.Topic, Priority: oslomsg.Info,
			Queue: "clonecache." + source + "." + string(instance),
			Args:  amqp.Table{"x-max-length": int32(heardAtMost)},
		}, nil
}
