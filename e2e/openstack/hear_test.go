//go:build openstack

package openstack

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// An image that Glance says is active is queued long before its source is looked at by itself.
func TestAnImageIsQueuedOnceGlanceSaysThatItIsActive(t *testing.T) {
	password := filepath.Join(t.TempDir(), "rabbit")
	if err := os.WriteFile(password, []byte("secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	text := strings.Replace(tables(t, nil), "kind = \"glance\"\n", fmt.Sprintf("kind = \"glance\"\nnotifications_url = %q\nnotifications_password_file = %q\n",
		fmt.Sprintf("amqp://lab@127.0.0.1:%d/", lab.port+3), password), 1)
	text += fmt.Sprintf("[[follow]]\nsource = \"glance\"\npattern = %q\nevery = \"1h\"\nbackends = [\"files\"]\n", t.Name())
	w := worldOf(t, text)
	upload := func(seed uint64) string {
		id := w.admin.upload(t, newDisk(t, seed, 16*mib, 4*mib).path, "raw", object{"visibility": "public"})
		w.images = append(w.images, id)
		return id
	}
	first := upload(1) // Glance declares its exchange
	w.daemon.Start(t)
	defer w.end(t)
	c := w.daemon.Client(t)
	queued := func(id string) bool {
		rows, err := c.Queue(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, v := range rows {
			if v.ImageID == "glance:"+id {
				return true
			}
		}
		return false
	}
	within(t, "what was there at the start is queued, and RabbitMQ is listened to", func() bool {
		log, err := os.ReadFile(filepath.Join(w.daemon.Dir, "log"))
		return err == nil && queued(first) && strings.Contains(string(log), "connected to RabbitMQ")
	})
	const far = 2 * time.Minute // from the next look
	for seed := range uint64(3) {
		id := upload(seed + 2)
		active := time.Now()
		within(t, "the new image is queued", func() bool { return queued(id) })
		took := time.Since(active)
		t.Logf("queued %v after it was active", took)
		if took > far {
			t.Errorf("queued %v after it was active", took)
		}
	}
}
