package daemon

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/clonecache/clonecache/plugin/oslomsg"
	"github.com/clonecache/clonecache/plugin/oslomsg/oslomsgtest"
)

// What Glance says of an image that is active is a hint for its source; nothing else that it says is one.
func TestImagesThatAreActiveAreHeardOf(t *testing.T) {
	b := oslomsgtest.Start(t)
	secret := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(secret, []byte("secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, _ := parse(t, one+`[[image_source]]
name = "glance"
kind = "glance"
auth_url = "http://127.0.0.1:1/v3"
user = "cache"
project = "cache"
password_file = "`+secret+`"
notifications_url = "amqp://cc@`+b.Address+`/"
notifications_password_file = "`+secret+`"
`)
	if err := os.MkdirAll(string(cfg.StateDir), 0o700); err != nil {
		t.Fatal(err)
	}
	log := logrus.New()
	log.SetOutput(io.Discard)
	hints := make(chan string, 16)
	stop, err := hear(cfg, log, func(source string) { hints <- source })
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	hint := func(when string) {
		t.Helper()
		select {
		case source := <-hints:
			if source != "glance" {
				t.Errorf("%s: a hint for %s", when, source)
			}
		case <-time.After(time.Minute):
			t.Fatalf("%s: no hint", when)
		}
	}
	hint("once it listens")
	<-b.Listening()
	if b.Asked("exchange") != "glance" || b.Asked("key") != "notifications.info" || !strings.HasPrefix(b.Asked("queue"), "clonecache.glance.") {
		t.Errorf("bound %s to %s by %s", b.Asked("queue"), b.Asked("exchange"), b.Asked("key"))
	}
	for _, event := range []string{"image.create", "image.upload", "image.activate", "image.delete"} {
		body, err := oslomsg.Notification{Event: event, Priority: oslomsg.Info, At: time.Now(), Payload: []byte(`{"id":"../../etc"}`)}.Encode()
		if err != nil {
			t.Fatal(err)
		}
		b.Send(body)
	}
	hint("of an image that is active")
	b.Cut()
	hint("after a cut")
	stop()
	if len(hints) > 0 {
		t.Errorf("%d hints more than there should be", len(hints))
	}
}
