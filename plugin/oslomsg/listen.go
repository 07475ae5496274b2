package oslomsg

import (
	"context"
	"errors"
	"fmt"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

// GlanceExchange is Glance's control_exchange where nobody has set another one.
const GlanceExchange = "glance"

// Subscription is whose notifications are listened to.
type Subscription struct {
	Exchange string     // the control_exchange of the service: "glance"
	Topic    string     // "notifications"
	Priority Priority   // of those that are heard
	Queue    string     // shown in RabbitMQ; the server adds nothing to it
	Args     amqp.Table // of the queue; nil: none
}

// RoutingKey is that of a topic and a priority.
func RoutingKey(topic string, p Priority) string {
	return topic + "." + map[Priority]string{Info: "info", Warn: "warn", Error: "error"}[p]
}

// exchangePause is between looks for an exchange.
const exchangePause = time.Second

// unreadAtMost is how many messages RabbitMQ hands over that have not been taken yet; the others stay in the queue, which may be
// bounded. The library keeps what comes in memory, as much as that is.
const unreadAtMost = 10

// ErrNoExchange: the service has not declared its exchange yet, as it does with its first notification.
var ErrNoExchange = errors.New("its exchange is not there yet")

// Listen hands each notification to take, in the order in which they come, until ctx ends or the connection does. The queue is the
// connection's own, and goes with it: what is sent meanwhile is not heard. So the services' own queues are left alone. What is no notification is skipped.
// take should return soon; ready, if not nil, is called once the queue is bound. ErrNoExchange.
func Listen(ctx context.Context, conn *amqp.Connection, s Subscription, ready func(), take func(Notification)) error {
	deliveries, err := s.consume(ctx, conn)
	if err != nil {
		return err
	}
	if ready != nil {
		ready()
	}
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case d, ok := <-deliveries:
			if !ok {
				return fmt.Errorf("listen to exchange %s: %w", s.Exchange, errClosed)
			}
			if n, err := Decode(d.Body); err == nil {
				take(n)
			}
			if err := d.Ack(false); err != nil {
				return fmt.Errorf("listen to exchange %s: %w", s.Exchange, err)
			}
		}
	}
}

// consume binds a queue of the connection's own. The channel ends with the connection.
func (s Subscription) consume(ctx context.Context, conn *amqp.Connection) (<-chan amqp.Delivery, error) {
	ch, err := conn.Channel()
	if err != nil {
		return nil, fmt.Errorf("open a channel: %w", err)
	}
	var refused *amqp.Error
	err = ch.ExchangeDeclarePassive(s.Exchange, amqp.ExchangeTopic, false, false, false, false, nil)
	if errors.As(err, &refused) && refused.Code == amqp.NotFound {
		return nil, fmt.Errorf("listen to exchange %s: %w", s.Exchange, ErrNoExchange)
	}
	if err != nil {
		return nil, fmt.Errorf("listen to exchange %s: %w", s.Exchange, err)
	}
	if _, err := ch.QueueDeclare(s.Queue, false, true, true, false, s.Args); err != nil {
		return nil, fmt.Errorf("declare queue %s: %w", s.Queue, err)
	}
	if err := ch.QueueBind(s.Queue, RoutingKey(s.Topic, s.Priority), s.Exchange, false, nil); err != nil {
		return nil, fmt.Errorf("bind queue %s: %w", s.Queue, err)
	}
	if err := ch.Qos(unreadAtMost, 0, false); err != nil {
		return nil, fmt.Errorf("bound what queue %s hands over: %w", s.Queue, err)
	}
	deliveries, err := ch.ConsumeWithContext(ctx, s.Queue, "", false, true, false, false, nil)
	if err != nil {
		return nil, fmt.Errorf("read queue %s: %w", s.Queue, err)
	}
	return deliveries, nil
}

// Listen keeps a connection until ctx ends, and hands each notification to take as the function Listen does. heard is
// called whenever it begins to listen: what was sent before was not heard. Where the exchange is not there yet, it waits for it.
// The error is ctx's.
func (l Link) Listen(ctx context.Context, s Subscription, heard func(), take func(Notification)) error {
	return l.Keep(ctx, func(ctx context.Context, conn *amqp.Connection) error {
		for logged := false; ; logged = true {
			err := Listen(ctx, conn, s, heard, take)
			if !errors.Is(err, ErrNoExchange) {
				return err
			}
			if !logged {
				l.Log.WithError(err).Info("nothing is heard yet; waiting for the service's first notification")
			}
			if err := wait(ctx, exchangePause); err != nil {
				return context.Cause(ctx)
			}
		}
	})
}
