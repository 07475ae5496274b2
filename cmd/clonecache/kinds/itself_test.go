package kinds

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

// An API that would stand before itself is refused; its neighbours are not.
func TestGlancesAPIStandsNotBeforeItself(t *testing.T) {
	own, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		listen, endpoint string
		itself           bool
	}{
		{"tcp://127.0.0.1:9292", "http://127.0.0.1:9292", true},
		{"tcp://127.0.0.1:9292", "http://localhost:9292/v2", true},
		{"tcp://0.0.0.0:9292", "http://127.0.0.1:9292", true},
		{"tcp://[::]:9292", "http://[::1]:9292", true},
		{"tcp://0.0.0.0:9292", "http://" + strings.ToUpper(own) + ":9292", true},
		{"tcp://10.0.0.5:443", "https://10.0.0.5", true},
		{"tcp://127.0.0.1:9292", "http://127.0.0.1:9293", false},
		{"tcp://127.0.0.1:9292", "http://10.0.0.5:9292", false},
		{"tcp://10.0.0.5:9292", "http://127.0.0.1:9292", false},
		{"tcp://0.0.0.0:9292", "http://glance.example.org:9292", false},
		{"tcp://127.0.0.1:9292", "", false},
	} {
		text := strings.Replace(small+glanceAPI, "tcp://0.0.0.0:9292", c.listen, 1)
		if c.endpoint != "" {
			text = strings.Replace(text, "[glance_api]", fmt.Sprintf("endpoint = %q\n[glance_api]", c.endpoint), 1)
		}
		_, err := All().Parse([]byte("state_dir = \"state\"\n"+text), "/srv/cc/clonecache.toml")
		if found := err != nil && strings.Contains(err.Error(), "image_source[1].endpoint"); found != c.itself || !c.itself && err != nil {
			t.Errorf("%s before %q: got %v", c.listen, c.endpoint, err)
		}
	}
}

// A password that goes over the network without TLS is warned of, for both places where RabbitMQ is named.
func TestAPasswordInTheClearIsWarnedOf(t *testing.T) {
	for url, warned := range map[string]bool{
		"amqp://cc@rabbit/": true, "rabbit://cc@rabbit": true, "amqp://cc@127.0.0.1,10.0.0.5/": true,
		"amqps://cc@rabbit/": false, "amqp://cc@127.0.0.1:5672/v": false, "amqp://cc@localhost": false, "amqp://cc@[::1]:5672": false,
	} {
		for key, text := range map[string]string{
			"notifications.url":                 small + fmt.Sprintf("[notifications]\nurl = %q\npassword_file = \"p\"\n", url),
			"image_source[1].notifications_url": small + strings.Replace(glanceAPI, "[glance_api]", fmt.Sprintf("notifications_url = %q\nnotifications_password_file = \"p\"\n[glance_api]", url), 1),
		} {
			cfg, err := All().Parse([]byte("state_dir = \"state\"\n"+text), "/srv/cc/clonecache.toml")
			if err != nil {
				t.Fatal(err)
			}
			found := false
			for _, w := range cfg.Warnings {
				found = found || w.Key == key && strings.Contains(w.What, "unencrypted")
			}
			if found != warned {
				t.Errorf("%s = %q: warnings %v", key, url, cfg.Warnings)
			}
		}
	}
}
