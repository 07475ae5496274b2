//go:build openstack

// Package notifications proves that OpenStack hears what the cache does: oslo.messaging's own listener, on a real
// RabbitMQ.
package notifications

import (
	"bufio"
	"cmp"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/clonecache/clonecache/backends/backendtest/fstest"
	"github.com/clonecache/clonecache/e2e/harness"
	"github.com/clonecache/clonecache/plugin"
)

func TestMain(m *testing.M) { os.Exit(harness.Main(m)) }

// lab runs e2e/openstack/lab.sh on the lab that LAB_DIR and LAB_PORT name.
func lab(t *testing.T, words ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "../lab.sh", words...)
	log, err := os.Create(filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	cmd.Stdout, cmd.Stderr = log, log // what it starts outlives it
	if err := cmd.Run(); err != nil {
		said, _ := os.ReadFile(log.Name())
		t.Fatalf("lab.sh %q: %v\n%s", words, err, said)
	}
}

// broker starts the lab's RabbitMQ, and returns its address.
func broker(t *testing.T) string {
	t.Helper()
	dir := os.Getenv("LAB_DIR")
	port, err := strconv.Atoi(cmp.Or(os.Getenv("LAB_PORT"), "32100"))
	if dir == "" || err != nil {
		t.Skip("LAB_DIR and LAB_PORT name no lab (make test gives them)")
	}
	for _, below := range []string{"log", "run", "bin", "etc", "rabbitmq", "cinder.d"} {
		if err := os.MkdirAll(filepath.Join(dir, below), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	lab(t, "start", "epmd")
	lab(t, "start", "rabbitmq")
	return fmt.Sprintf("127.0.0.1:%d", port+3)
}

// heard is a notification as the listener hears it.
type heard struct {
	Publisher, Event, ID string
	Payload              map[string]any
}

// listener is oslo.messaging's own, at work.
type listener struct {
	mu  sync.Mutex
	all []heard
	up  bool
}

func listen(t *testing.T, address string) *listener {
	t.Helper()
	cmd := exec.Command("/usr/bin/python3", "listen.py", "rabbit://lab:secret@"+address+"/")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var said strings.Builder
	cmd.Stderr = &said
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	l := &listener{}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for scan := bufio.NewScanner(out); scan.Scan(); {
			l.take(scan.Bytes())
		}
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-done
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("the listener said: %s", said.String())
		}
	})
	harness.Until(t, "the listener listens", func() bool { l.mu.Lock(); defer l.mu.Unlock(); return l.up })
	return l
}

func (l *listener) take(line []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var h heard
	if json.Unmarshal(line, &h) == nil {
		l.all = append(l.all, h)
	}
	l.up = true
}

// counts are the notifications of our own, by event and image.
func (l *listener) counts() map[string]int {
	l.mu.Lock()
	defer l.mu.Unlock()
	ids, counts := map[string]bool{}, map[string]int{}
	for _, h := range l.all {
		if !strings.HasPrefix(h.Event, "image_volume_cache.") || ids[h.ID] {
			continue
		}
		ids[h.ID] = true
		counts[strings.TrimPrefix(h.Event, "image_volume_cache.")+" "+fmt.Sprint(h.Payload["image_id"])]++
	}
	return counts
}

// reconnected is within which the daemon and the listener have the broker again, though each waits longer after each attempt, up to
// 45 s, and an attempt in which the other one was not there yet counts.
const reconnected = 5 * time.Minute

// hears waits until each of these was heard so often.
func (l *listener) hears(t *testing.T, want map[string]int) {
	t.Helper()
	defer func() {
		if t.Failed() {
			t.Logf("heard: %+v", l.counts())
		}
	}()
	harness.UntilWithin(t, reconnected, fmt.Sprintf("%v is heard", want), func() bool {
		got := l.counts()
		for what, n := range want {
			if got[what] < n {
				return false
			}
		}
		return true
	})
	if got := l.counts(); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("heard %v, want %v", got, want)
	}
}

// Hits, misses and evictions arrive as Cinder's own cache would tell of them; while the broker is down no request waits, and
// what happens is told once it is back.
func TestOpenStackHearsWhatTheCacheDoes(t *testing.T) {
	address := broker(t)
	dir := fstest.Mount(t, "xfs", 1*harness.GiB)
	images, password := t.TempDir(), filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(password, []byte("secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for i, name := range []string{"a.raw", "b.raw"} {
		harness.SmallDisk(t, filepath.Join(images, name), uint64(i+1), harness.MiB, harness.MiB)
	}
	d := harness.Start(t, harness.Config{Tables: fmt.Sprintf(`[notifications]
url = "amqp://lab@%s/"
password_file = %q
[[image_source]]
name = "library"
kind = "directory"
path = %q
[[backend]]
name = "local"
kind = "file"
path = %q
max_count = 1
`, address, password, images, filepath.Join(dir, "volumes"))})
	l := listen(t, address)
	create := func(image, name string, want plugin.Outcome) {
		t.Helper()
		begun := time.Now()
		if got := d.Create(t, harness.Volume{Image: "library:" + image, Name: name}); got.Outcome != want {
			t.Fatalf("%s: got %+v, want %s", name, got, want)
		}
		if took := time.Since(begun); took > time.Minute {
			t.Errorf("%s took %v", name, took)
		}
	}
	create("a.raw", "v1", plugin.Filled)
	create("a.raw", "v2", plugin.Hit)
	if r := d.CLI(t, "entry", "delete", "--all", "--force"); r.Exit != 0 {
		t.Fatal(r.Stderr)
	}
	l.hears(t, map[string]int{"miss a.raw": 1, "hit a.raw": 1, "evict a.raw": 1})
	lab(t, "stop", "rabbitmq")
	defer lab(t, "start", "rabbitmq")
	create("b.raw", "v3", plugin.Filled)
	create("b.raw", "v4", plugin.Hit)
	d.Restart(t)
	create("b.raw", "v5", plugin.Hit)
	lab(t, "start", "rabbitmq")
	l.hears(t, map[string]int{"miss a.raw": 1, "hit a.raw": 1, "evict a.raw": 1, "miss b.raw": 1, "hit b.raw": 2})
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, h := range l.all {
		if !strings.HasPrefix(h.Publisher, "volume.") || !strings.Contains(fmt.Sprint(h.Payload["host"]), "@local#local") {
			t.Errorf("got %+v", h)
		}
	}
}
