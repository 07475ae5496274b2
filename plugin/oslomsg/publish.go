package oslomsg

import (
	"context"
	"errors"
	"fmt"

	amqp "github.com/rabbitmq/amqp091-go"
)

// ErrUnconfirmed: RabbitMQ did not take a message, or nobody has a queue for it. It may be sent again.
var ErrUnconfirmed = errors.New("not taken by RabbitMQ")

// Where OpenStack's services send notifications, unless they are told otherwise.
const (
	DefaultExchange = "openstack"
	DefaultTopic    = "notifications"
)

// Publisher sends notifications, one after the other, each until RabbitMQ has it in a queue. Send works while Run does.
type Publisher struct {
	link     Link
	exchange string
	topic    string
	work     chan sending
}

// sending is a notification whose sender waits.
type sending struct {
	key     string
	message amqp.Publishing
	done    chan error
}

// NewPublisher sends to a topic of an exchange, as a service does whose control_exchange that is.
func NewPublisher(link Link, exchange, topic string) *Publisher {
	return &Publisher{link: link, exchange: exchange, topic: topic, work: make(chan sending)}
}

// Run keeps the connection until ctx ends, and returns its error.
func (p *Publisher) Run(ctx context.Context) error { return p.link.Keep(ctx, p.serve) }

// Send returns once RabbitMQ has the notification in a queue. While there is no connection it waits for one, as long as ctx lives.
// ErrUnconfirmed, ErrNoExchange. After an error it may or may not have been taken.
func (p *Publisher) Send(ctx context.Context, n Notification) error {
	message, err := n.Publishing()
	if err != nil {
		return err
	}
	s := sending{RoutingKey(p.topic, n.Priority), message, make(chan error, 1)}
	select {
	case p.work <- s:
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case err := <-s.done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// serve sends over one connection.
func (p *Publisher) serve(ctx context.Context, conn *amqp.Connection) error {
	ch, err := conn.Channel()
	if err != nil {
		return fmt.Errorf("open a channel: %w", err)
	}
	if err := ch.Confirm(false); err != nil {
		return fmt.Errorf("ask for confirmations: %w", err)
	}
	returns := ch.NotifyReturn(make(chan amqp.Return, 1))
	for {
		select {
		case s := <-p.work:
			err := p.publish(ctx, ch, returns, s)
			s.done <- err
			if ch.IsClosed() {
				return err
			}
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// publish sends one message and waits until RabbitMQ has it, or gives it back for want of a queue.
func (p *Publisher) publish(ctx context.Context, ch *amqp.Channel, returns <-chan amqp.Return, s sending) error {
	taken, err := ch.PublishWithDeferredConfirmWithContext(ctx, p.exchange, s.key, true, false, s.message)
	if err != nil {
		return fmt.Errorf("publish to %s: %w: %w", p.exchange, ErrUnconfirmed, err)
	}
	ok, err := taken.WaitContext(ctx)
	select {
	case <-returns: // it comes before the confirmation
		return fmt.Errorf("publish to %s: %w: no queue is bound to it by %s", p.exchange, ErrUnconfirmed, s.key)
	default:
	}
	if err != nil || !ok {
		return fmt.Errorf("publish to %s: %w: is the exchange there?", p.exchange, errors.Join(ErrUnconfirmed, err))
	}
	return nil
}
