package daemon

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"github.com/clonecache/clonecache/cmd/clonecache/config"
	"github.com/clonecache/clonecache/plugin"
	"github.com/clonecache/clonecache/plugin/oslomsg"
	"github.com/clonecache/clonecache/plugin/outbox"
	"github.com/clonecache/clonecache/plugin/smallfile"
)

// sending is what sends events out while the cache is served. The zero one sends none.
type sending struct {
	box  *outbox.Outbox
	end  context.CancelFunc
	done sync.WaitGroup
}

// send begins to send the events of p to whom the configuration names.
func (d *running) send(p *plugin.Plugin) (*sending, error) {
	s := &sending{end: func() {}}
	if len(d.cfg.Webhooks) == 0 && d.cfg.Notifications.URL == "" {
		return s, nil
	}
	instance, err := plugin.InstanceOf(string(d.cfg.StateDir))
	if err != nil {
		return nil, err
	}
	var ctx context.Context
	ctx, s.end = context.WithCancel(context.Background())
	sinks, run, err := d.sinks()
	if err == nil {
		s.box, err = outbox.New(outbox.Config{Dir: filepath.Join(string(d.cfg.StateDir), "sinks"), Instance: instance, Source: p, Gaps: p.Controls(), Sinks: sinks, Log: d.Log})
	}
	if err != nil {
		s.end()
		return nil, err
	}
	for _, work := range append(run, s.box.Run) {
		s.done.Go(func() { work(ctx) })
	}
	return s, nil
}

// stop ends it, and returns once it is noted how far each sink has come.
func (s *sending) stop() {
	s.end()
	s.done.Wait()
}

// Sinks implements api.Outlets.
func (s *sending) Sinks() []plugin.SinkView {
	if s.box == nil {
		return []plugin.SinkView{}
	}
	return s.box.View()
}

// sinks are those of the configuration, and what has to run for them.
func (d *running) sinks() (sinks []outbox.Sink, run []func(context.Context), err error) {
	client := outbox.NewClient()
	for _, w := range d.cfg.Webhooks {
		kinds := words[plugin.EventKind](w.Kinds)
		sinks = append(sinks, outbox.Sink{Name: w.Name, Kinds: kinds, Sender: outbox.Webhook{URL: w.URL, Secret: secretOf(w.SecretFile), Client: client}})
	}
	n := d.cfg.Notifications
	if n.URL == "" {
		return sinks, nil, nil
	}
	address, err := oslomsg.ParseAddress(n.URL)
	if err != nil {
		return nil, nil, err
	}
	host, err := os.Hostname()
	if err != nil {
		return nil, nil, err
	}
	publisher := oslomsg.NewPublisher(oslomsg.Link{Address: address, Name: "clonecache on " + host, Log: d.Log,
		Password: func() (string, error) { text, err := secretOf(n.PasswordFile)(); return string(text), err }}, n.Exchange, n.Topic)
	sinks = append(sinks, outbox.Sink{Name: config.NotificationsSink, Kinds: outbox.NotifiedKinds(),
		Sender: outbox.Notifications{Publisher: publisher, Host: host}})
	return sinks, []func(context.Context){func(ctx context.Context) { _ = publisher.Run(ctx) }}, nil // it ends with ctx alone
}

// secretOf reads a secret each time that it is needed. An empty one is an error: what it would sign, everybody could.
func secretOf(file config.SecretFile) func() ([]byte, error) {
	return func() ([]byte, error) {
		text, err := smallfile.Read(string(file))
		if text = bytes.TrimSpace(text); err == nil && len(text) == 0 {
			err = fmt.Errorf("%s is empty: write the secret into it", file)
		}
		return text, err
	}
}
