package config

import (
	"fmt"
	"net/url"
	"strings"

	"github.com/clonecache/clonecache/plugin"
	"github.com/clonecache/clonecache/plugin/oslomsg"
)

// NotificationsSink is what the sink of [notifications] is called.
const NotificationsSink = "notifications"

// sinks checks where events are sent to.
func (c *checker) sinks(cfg *Config) {
	taken := map[string]string{NotificationsSink: "[notifications]"}
	for i := range cfg.Webhooks {
		w, at := &cfg.Webhooks[i], fmt.Sprintf("webhook[%d]", i)
		w.SecretFile = SecretFile(absolute(c.file, string(w.SecretFile)))
		c.name(at, w.Name, taken)
		c.hook(at, *w)
	}
	n := &cfg.Notifications
	n.PasswordFile = SecretFile(absolute(c.file, string(n.PasswordFile)))
	if n.URL != "" {
		c.rabbit(*n)
	} else if n.PasswordFile != "" {
		c.problem("notifications.password_file", "there is no url", "give amqp://USER@HOST/VHOST as url, or leave the table out")
	}
	if cfg.EventsMax == 0 && (len(cfg.Webhooks) > 0 || n.URL != "") {
		c.problem("events_max", "no event is kept, so that none can be sent", "leave it out, or remove [[webhook]] and [notifications]")
	}
}

func (c *checker) hook(at string, w Webhook) {
	u, err := url.Parse(w.URL)
	switch {
	case err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https":
		c.problem(at+".url", "it is no URL to post to", "write https://host/path")
	case u.User != nil:
		c.problem(at+".url", "it has a user or a password", "what is posted is signed with secret_file; leave them out")
	case u.Scheme == "http" && !isLoopback(u.Hostname()):
		c.warn(at+".url", "what is posted can be read on its way", "use https://")
	}
	if w.SecretFile == "" {
		c.problem(at+".secret_file", "there is none", "name the file with the secret that signs what is posted")
	}
	for i, kind := range w.Kinds {
		c.kind(fmt.Sprintf("%s.kinds[%d]", at, i), kind)
	}
}

// kind checks a kind of events.
func (c *checker) kind(key, kind string) {
	var words []string
	for _, k := range plugin.EventKinds() {
		if string(k.Kind) == kind {
			return
		}
		words = append(words, string(k.Kind))
	}
	c.problem(key, fmt.Sprintf("there is no kind %q", kind), "use some of "+strings.Join(words, ", "))
}

func (c *checker) rabbit(n Notifications) {
	if _, err := oslomsg.ParseAddress(n.URL); err != nil {
		c.problem("notifications.url", err.Error(), "write amqp://USER@HOST:5672/VHOST")
	}
	if what, remedy := WarnOfRabbit(n.URL); what != "" {
		c.warn("notifications.url", what, remedy)
	}
	if n.PasswordFile == "" {
		c.problem("notifications.password_file", "there is none", "name the file with the password of the user in url")
	}
	if n.Exchange == "" || n.Topic == "" {
		c.problem("notifications", "the exchange or the topic is empty", "leave them out for openstack and notifications")
	}
}
