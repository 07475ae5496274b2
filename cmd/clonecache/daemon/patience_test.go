package daemon

import (
	"context"
	"errors"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/sirupsen/logrus/hooks/test"

	"github.com/clonecache/clonecache/plugin/api"
)

// refusing is an address of the loopback at which nobody listens.
func refusing(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// A daemon starts without its catalog's database, says so to whoever asks, and stops when it is told to.
func TestADaemonWaitsForItsCatalogsDatabase(t *testing.T) {
	cfg, _ := parse(t, one+"[catalog]\nurl = \"mysql://clonecache@"+refusing(t)+"/clonecache\"\n")
	log, _ := test.NewNullLogger()
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	waits, ended := make(chan string, 8), make(chan error, 1)
	go func() {
		ended <- Run(ctx, cfg, Options{Log: log, Notify: func(state string) {
			select {
			case waits <- state:
			default:
			}
		}})
	}()
	select {
	case state := <-waits:
		if !strings.HasPrefix(state, "READY=1\nSTATUS=") {
			t.Errorf("the service manager is told %q", state)
		}
	case err := <-ended:
		t.Fatalf("it ended with %v", err)
	case <-time.After(time.Minute):
		t.Fatal("it never came to wait")
	}
	client, err := api.NewClient(addresses(cfg.Listen)[0], api.ClientConfig{})
	if err != nil {
		t.Fatal(err)
	}
	var refused *api.Error
	if err := client.Ready(t.Context()); !errors.As(err, &refused) || refused.Code != "catalog_unavailable" || refused.Status != http.StatusServiceUnavailable {
		t.Errorf("readyz: %v (%+v)", err, refused)
	}
	stop()
	select {
	case err := <-ended:
		if err != nil {
			t.Errorf("stopped, it ended with %v", err)
		}
	case <-time.After(time.Minute):
		t.Fatal("it did not stop")
	}
}
