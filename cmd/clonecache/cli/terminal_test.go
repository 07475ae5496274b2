package cli

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"golang.org/x/sys/unix"

	"github.com/clonecache/clonecache/plugin"
)

// openTerminal makes a pseudo-terminal of so many columns: what is written to its program's end is read from the
// watcher's.
func openTerminal(t *testing.T, columns int) (program, watcher *os.File) {
	t.Helper()
	watcher, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { watcher.Close() })
	conn, err := watcher.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var number int
	var failed error
	err = conn.Control(func(fd uintptr) {
		if failed = unix.IoctlSetPointerInt(int(fd), unix.TIOCSPTLCK, 0); failed != nil {
			return
		}
		if failed = unix.IoctlSetWinsize(int(fd), unix.TIOCSWINSZ, &unix.Winsize{Row: 24, Col: uint16(columns)}); failed == nil {
			number, failed = unix.IoctlGetInt(int(fd), unix.TIOCGPTN)
		}
	})
	if err != nil || failed != nil {
		t.Fatal(err, failed)
	}
	program, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { program.Close() })
	return program, watcher
}

// screen is what a terminal shows of what is written to it, as far as progress goes.
type screen struct {
	columns int
	line    string // where the cursor is
	lines   []string
	wrapped []string // lines that were wider than the screen
	strange []string // sequences that a terminal may not know
}

func (s *screen) take(text string) {
	for text != "" {
		switch {
		case strings.HasPrefix(text, "\x1b[K"):
			text = text[3:] // the cursor is at the beginning whenever something is erased
			continue
		case text[0] == '\x1b':
			s.strange = append(s.strange, fmt.Sprintf("%q", text[:min(8, len(text))]))
		case strings.HasPrefix(text, "\r\n"):
			s.lines, s.line, text = append(s.lines, s.line), "", text[2:]
			continue
		case text[0] == '\r':
			s.line = ""
		case text[0] == '\n':
			s.lines, s.line = append(s.lines, s.line), ""
		default:
			_, n := utf8.DecodeRuneInString(text)
			s.line += text[:n]
			if wide(s.line) > s.columns {
				s.wrapped = append(s.wrapped, s.line)
			}
			text = text[n:]
			continue
		}
		text = text[1:]
	}
}

// endOfText ends what a test writes to a terminal. The kernel may drop what is still on its way to the watcher when the
// program's end is closed, so a test closes that end when the watcher has seen everything.
const endOfText = "\x04"

// watch reads a terminal up to endOfText, or until its program's end is closed, and looks at everything so far after
// each piece.
func watch(t *testing.T, watcher *os.File, columns int, look func(shown string)) *screen {
	t.Helper()
	if err := watcher.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Log(err) // the runtime does not poll it: the test binary's own deadline has to do
	}
	s := &screen{columns: columns}
	buf := make([]byte, 64<<10)
	left := ""
	for {
		n, err := watcher.Read(buf)
		text, _, ended := strings.Cut(left+string(buf[:n]), endOfText)
		if ended {
			s.take(text)
			return s
		}
		end := len(text)
		if cut := strings.LastIndexAny(text, "\x1b\r"); cut >= 0 && end-cut < 3 && err == nil { // the rest of a sequence follows
			end = cut
		}
		for end > 0 && !utf8.ValidString(text[:end]) {
			end--
		}
		s.take(text[:end])
		left = text[end:]
		if look != nil {
			look(s.line)
		}
		if err != nil { // EIO: nobody has the program's end open any more
			return s
		}
	}
}

var widths = []int{40, 41, 55, 72, 80, 81, 120, 200}

// TestProgressNeverWraps draws long and wide labels through all their figures, on terminals of many widths.
func TestProgressNeverWraps(t *testing.T) {
	const gib = 1 << 30
	labels := []string{"library:a", "glance:5472a898-2e02-47ce-a336-564e06aadf01",
		"web:" + strings.Repeat("images/trixie/", 12) + "disk.qcow2", "library:" + strings.Repeat("画像", 30) + ".raw", "library:\x1b[31mred\nlibrary"}
	for _, columns := range widths {
		program, watcher := openTerminal(t, columns)
		at := &clock{at: testEnv(nil, nil).Now()}
		a := &app{Env: Env{Err: program, Now: at.now, Columns: ColumnsOf(program)}}
		if got := a.Columns(); got != columns {
			t.Fatalf("the terminal says %d columns, want %d", got, columns)
		}
		drawn := make(chan *screen, 1)
		go func() { drawn <- watch(t, watcher, columns, nil) }()
		for _, label := range labels {
			m := a.meter(label)
			for _, total := range []int64{-1, 700 * gib} {
				for done := int64(0); done <= 700*gib; done += 50*gib + 12345 {
					at.at = at.at.Add(time.Minute)
					m.update(fmt.Sprintf("filling%d", min(total, 1)), done, total)
				}
			}
			m.finish()
		}
		if _, err := program.WriteString(endOfText); err != nil {
			t.Fatal(err)
		}
		s := <-drawn
		program.Close()
		for _, line := range s.wrapped {
			t.Errorf("%d columns: wrapped: %q", columns, line)
		}
		if len(s.lines) > 0 || len(s.strange) > 0 || s.line != "" {
			t.Errorf("%d columns: scrolled %q, wrote %q, left %q; want none", columns, s.lines, s.strange, s.line)
		}
	}
}

func TestProgressSaysWhatFits(t *testing.T) {
	at := testEnv(nil, nil).Now()
	m := &meter{label: "library:debian-12-generic-amd64.qcow2", phase: "filling", since: at.Add(-5 * time.Second)}
	for _, c := range []struct {
		columns int
		want    string
	}{
		{40, "filling library:…64.qcow2: 12%, 35s left"},
		{120, "filling library:debian-12-generic-amd64.qcow2 [==                  ]: 85 MiB of 690 MiB (12%), 17 MiB/s, 35s left"},
	} {
		if got := m.fitted(at, 85<<20, 690<<20, c.columns); got != c.want {
			t.Errorf("%d columns: got %q, want %q", c.columns, got, c.want)
		}
	}
}

// TestACommandShowsItsProgressOnATerminal runs a whole command there, until its fill is interrupted.
func TestACommandShowsItsProgressOnATerminal(t *testing.T) {
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.HasSuffix(r.URL.Path, ".raw") {
			http.NotFound(w, r)
			return
		}
		w.Header().Set("Content-Length", "1048576")
		if r.Method == http.MethodHead {
			return
		}
		w.Write(make([]byte, 4096))
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	}))
	defer web.Close()
	d := startDaemon(t, "[[image_source]]", `name = "web"`, `kind = "http"`, "url = \""+web.URL+"\"")
	const columns = 40
	program, watcher := openTerminal(t, columns)
	ctx, interrupt := context.WithCancel(t.Context())
	defer interrupt()
	exit := make(chan int, 1)
	go func() {
		env := testEnv(d.log, program)
		env.Now, env.Columns = time.Now, ColumnsOf(program)
		exit <- Run(ctx, env, []string{"volume", "create", "web:some/long/path/to/an/image.raw", "--name", "v", "--progress", "always", "--server", d.server})
		if _, err := program.WriteString(endOfText); err != nil {
			t.Error(err)
		}
	}()
	seen := ""
	s := watch(t, watcher, columns, func(shown string) {
		if strings.HasPrefix(shown, "filling web:") && strings.Contains(shown, " of 1 MiB") {
			seen = shown
			interrupt()
		}
	})
	if code := <-exit; code != exitInterrupted {
		t.Errorf("got exit code %d, want %d", code, exitInterrupted)
	}
	progress := slices.DeleteFunc(s.wrapped, func(line string) bool { return strings.HasPrefix(line, "clonecache: ") }) // but the last word
	if seen == "" || len(progress) > 0 || len(s.lines) != 1 || !strings.Contains(s.lines[0], "interrupted") {
		t.Errorf("saw %q, wrapped %q, lines %q; want progress that leaves only the last word", seen, progress, s.lines)
	}
	if fills := query[plugin.Status](t, d, exitOK, "status").Fills; len(fills) > 1 {
		t.Errorf("got fills %+v", fills)
	}
}

// TestTablesFitTheTerminal: no line is wider, and nothing but what the line says is left out.
func TestTablesFitTheTerminal(t *testing.T) {
	for _, columns := range widths {
		for _, c := range shownTables() {
			if slices.Contains([]string{"answer", "removed", "flattened"}, c.name) { // sentences, which may wrap
				continue
			}
			for line := range strings.Lines(shown(t, c, look{columns: columns})) {
				if wide(strings.TrimSuffix(line, "\n")) > columns && !strings.HasPrefix(line, "no problems") {
					t.Errorf("%s at %d columns: %q", c.name, columns, line)
				}
			}
		}
	}
}
