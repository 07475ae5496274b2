//go:build openstack

package openstack

import (
	"bytes"
	"io"
	"net/http"
	"os"
	"regexp"
	"testing"
	"time"
)

// ended are the requests that cinder-volume has ended since this was made, from its log: to ask Cinder costs it 15 ms of a
// processor each time, and a benchmark that asks often measures its own questions.
type ended struct {
	log   *os.File
	rest  []byte         // the beginning of a line
	times map[string]int // how often it said so of a request: Cinder's own cache makes its image-volume in the same one
}

// endedLine is what cinder-volume says at the end of a request that makes or deletes a volume.
var endedLine = regexp.MustCompile(`\[(?:None )?(req-\S+) .*(?:Created|Deleted) volume successfully`)

func newEnded(tb testing.TB) *ended {
	tb.Helper()
	log, err := os.Open(lab.log("cinder-volume"))
	if err == nil {
		_, err = log.Seek(0, io.SeekEnd)
	}
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = log.Close() })
	return &ended{log: log, times: make(map[string]int)}
}

// read takes in what the log has grown by.
func (e *ended) read(tb testing.TB) {
	tb.Helper()
	text, err := io.ReadAll(e.log)
	if err != nil {
		tb.Fatal(err)
	}
	text = append(e.rest, text...)
	whole := bytes.LastIndexByte(text, '\n') + 1
	for _, m := range endedLine.FindAllSubmatch(text[:whole], -1) {
		e.times[string(m[1])]++
	}
	e.rest = bytes.Clone(text[whole:])
}

// lookEvery is how often the log is read.
const lookEvery = 10 * time.Millisecond

// until waits for what the log tells.
func (e *ended) until(tb testing.TB, what string, holds func() bool) {
	tb.Helper()
	tick, late := time.NewTicker(lookEvery), time.After(patience)
	defer tick.Stop()
	for e.read(tb); !holds(); e.read(tb) {
		select {
		case <-tick.C:
		case <-late:
			tb.Fatalf("waited in vain: %s", what)
		}
	}
}

// requestID is what the log calls the request that was answered so.
func requestID(h http.Header) string { return h.Get("X-Openstack-Request-Id") }
