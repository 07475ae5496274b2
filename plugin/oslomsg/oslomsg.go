// Package oslomsg speaks to RabbitMQ as oslo.messaging does, so that OpenStack's services and clonecache hear each other's
// notifications: messages in the envelope of version 2.0, on topic exchanges, by the routing key TOPIC.PRIORITY.
//
// It owns one connection at a time and makes it anew when it breaks. It keeps nothing: what is not published when a
// process dies is lost, and what was sent while nobody listened is not heard. It never declares an exchange that a service declares itself,
// since the service fails on one whose flags are others.
package oslomsg

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	amqp "github.com/rabbitmq/amqp091-go"
)

// ErrMessage: a body is no notification of oslo.messaging.
var ErrMessage = errors.New("not a notification of oslo.messaging")

// MaxBody is the largest body that Decode looks at, in bytes.
const MaxBody = 1 << 20

// Priority is how urgent a notification is. Its word in lower case ends the routing key.
type Priority string

// The priorities that services use.
const (
	Info  Priority = "INFO"
	Warn  Priority = "WARN"
	Error Priority = "ERROR"
)

// Notification is one message, without the context that a service adds for itself.
type Notification struct {
	ID        string // unique; Encode makes one where there is none
	Publisher string // SERVICE.HOST
	Event     string // "image.activate"
	Priority  Priority
	Payload   json.RawMessage
	At        time.Time // UTC; Encode takes it as it is
}

// wire is a notification as JSON.
type wire struct {
	ID        string          `json:"message_id"`
	Publisher string          `json:"publisher_id"`
	Event     string          `json:"event_type"`
	Priority  Priority        `json:"priority"`
	Payload   json.RawMessage `json:"payload"`
	Timestamp string          `json:"timestamp"`
	UniqueID  string          `json:"_unique_id,omitempty"`
}

// envelope is version 2.0 of the format: the message is a text in it.
type envelope struct {
	Version string  `json:"oslo.version"`
	Message *string `json:"oslo.message"`
}

// timestampForm is that of Python's str(datetime), in UTC.
const timestampForm = "2006-01-02 15:04:05.000000"

// Encode is the body of a notification in its envelope.
func (n Notification) Encode() ([]byte, error) {
	if n.ID == "" {
		n.ID = uuid.NewString()
	}
	unique := uuid.New()
	inner, err := json.Marshal(wire{
		ID: n.ID, Publisher: n.Publisher, Event: n.Event, Priority: n.Priority, Payload: n.Payload,
		Timestamp: n.At.UTC().Format(timestampForm), UniqueID: hex.EncodeToString(unique[:]),
	})
	if err != nil {
		return nil, fmt.Errorf("encode notification %s: %w", n.Event, err)
	}
	text := string(inner)
	return json.Marshal(envelope{Version: "2.0", Message: &text})
}

// Publishing is the notification as it is published.
func (n Notification) Publishing() (amqp.Publishing, error) {
	body, err := n.Encode()
	return amqp.Publishing{ContentType: "application/json", ContentEncoding: "utf-8", DeliveryMode: amqp.Persistent, Body: body}, err
}

// Decode reads a body, in the envelope or without one, as services do whose driver is "messaging". A timestamp in another
// form is left out. ErrMessage.
func Decode(body []byte) (Notification, error) {
	if len(body) > MaxBody {
		return Notification{}, fmt.Errorf("%w: it has %d bytes, more than %d", ErrMessage, len(body), MaxBody)
	}
	var e envelope
	if err := json.Unmarshal(body, &e); err != nil {
		return Notification{}, fmt.Errorf("%w: %w", ErrMessage, err)
	}
	inner := body
	if e.Message != nil {
		inner = []byte(*e.Message)
	}
	var w wire
	if err := json.Unmarshal(inner, &w); err != nil {
		return Notification{}, fmt.Errorf("%w: %w", ErrMessage, err)
	}
	if w.Event == "" {
		return Notification{}, fmt.Errorf("%w: it has no event_type", ErrMessage)
	}
	at, _ := time.Parse("2006-01-02 15:04:05.999999", w.Timestamp)
	return Notification{ID: w.ID, Publisher: w.Publisher, Event: w.Event, Priority: w.Priority, Payload: w.Payload, At: at}, nil
}
