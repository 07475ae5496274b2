package outbox

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/google/uuid"

	"github.com/clonecache/clonecache/plugin"
	"github.com/clonecache/clonecache/plugin/oslomsg"
)

// Notifications sends events as Cinder sends those of its own image-volume cache: image_volume_cache.hit, miss and
// evict. Other events are passed over.
type Notifications struct {
	Publisher *oslomsg.Publisher
	Host      string // what the host is called
}

// NotifiedKinds are the events that Cinder has a word for.
func NotifiedKinds() []plugin.EventKind {
	return []plugin.EventKind{plugin.EventHit, plugin.EventJoined, plugin.EventMiss,
		plugin.EventEvicted, plugin.EventDetached, plugin.EventVanished, plugin.EventDeleted}
}

// notified is Cinder's word for an event; "": it has none.
func notified(k plugin.EventKind) string {
	for _, own := range NotifiedKinds() {
		if k != own {
			continue
		}
		switch k { //nolint:exhaustive // the others are evictions
		case plugin.EventHit, plugin.EventJoined:
			return "hit"
		case plugin.EventMiss:
			return "miss"
		}
		return "evict"
	}
	return ""
}

// payload is Cinder's, and what we know beside it.
type payload struct {
	ImageID string `json:"image_id"` // as its service calls it
	Host    string `json:"host"`     // HOST@BACKEND#BACKEND
	Image   string `json:"clonecache_image"`
	Volume  string `json:"volume_id,omitempty"`
	Reason  string `json:"reason,omitempty"`
	Event   int64  `json:"clonecache_event"`
}

// Send implements Sender.
func (n Notifications) Send(ctx context.Context, e plugin.Event) error {
	word := notified(e.Kind)
	if word == "" {
		return nil
	}
	_, id, isRef := strings.Cut(e.ImageID, ":")
	if !isRef {
		id = e.ImageID
	}
	body, err := json.Marshal(payload{ImageID: id, Host: fmt.Sprintf("%s@%s#%s", n.Host, e.Backend, e.Backend), Image: e.ImageID,
		Volume: string(e.Volume), Reason: string(e.Reason), Event: e.ID})
	if err != nil {
		return fmt.Errorf("%w: %w", ErrRefused, err)
	}
	return n.Publisher.Send(ctx, oslomsg.Notification{
		ID:        uuid.NewSHA1(uuid.NameSpaceOID, fmt.Appendf(nil, "clonecache/%s/%d", e.Host, e.ID)).String(),
		Publisher: "volume." + n.Host, Event: "image_volume_cache." + word, Priority: oslomsg.Info, Payload: body, At: e.At,
	})
}
