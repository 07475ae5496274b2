package cli

import (
	"bytes"
	"testing"
	"time"

	"github.com/clonecache/clonecache/plugin"
)

// clock is a time that the test moves.
type clock struct{ at time.Time }

func (c *clock) now() time.Time { return c.at }

func TestProgressWhereNobodyWatches(t *testing.T) {
	const mib = 1 << 20
	steps := []struct {
		after time.Duration
		p     plugin.Progress
	}{
		{0, plugin.Progress{Phase: "filling", TotalBytes: 100 * mib}},
		{500 * time.Millisecond, plugin.Progress{Phase: "filling", ReadBytes: 5 * mib, TotalBytes: 100 * mib}},
		{time.Second, plugin.Progress{Phase: "filling", ReadBytes: 15 * mib, TotalBytes: 100 * mib}},
		{time.Second, plugin.Progress{Phase: "filling", ReadBytes: 25 * mib, TotalBytes: 100 * mib}},
		{3 * time.Second, plugin.Progress{Phase: "filling", ReadBytes: 55 * mib, TotalBytes: 100 * mib}},
		{3 * time.Second, plugin.Progress{Phase: "copying", ReadBytes: 0, TotalBytes: -1}},
		{4 * time.Second, plugin.Progress{Phase: "copying", ReadBytes: 8 * mib, TotalBytes: -1}},
		{time.Second, plugin.Progress{Phase: "waiting", WaitsFor: "backend", TotalBytes: 100 * mib}},
	}
	for _, c := range []struct {
		name string
		mode progressMode
		want string
	}{
		{"auto is quiet for a second", progressAuto, `filling library:a: 15 MiB of 100 MiB (15%), 10 MiB/s, 8s left
filling library:a: 55 MiB of 100 MiB (55%), 10 MiB/s, 4s left
copying library:a
copying library:a: 8 MiB, 2 MiB/s
waiting (backend) library:a: 0 B of 100 MiB (0%)
`},
		{"always shows it from the start", progressAlways, `filling library:a: 0 B of 100 MiB (0%)
filling library:a: 55 MiB of 100 MiB (55%), 10 MiB/s, 4s left
copying library:a
copying library:a: 8 MiB, 2 MiB/s
waiting (backend) library:a: 0 B of 100 MiB (0%)
`},
		{"never", progressNever, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			var errs bytes.Buffer
			time := &clock{at: testEnv(nil, nil).Now()}
			a := &app{Env: Env{Err: &errs, Now: time.now}, progress: c.mode}
			m := a.meter("library:a")
			for _, s := range steps {
				time.at = time.at.Add(s.after)
				m.request(s.p)
			}
			m.finish()
			if got := errs.String(); got != c.want {
				t.Errorf("got\n%s\nwant\n%s", got, c.want)
			}
		})
	}
}
