package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/plugin"
	"github.com/clonecache/clonecache/plugin/api"
)

func (a *app) event() *cobra.Command {
	return group("event", "List and follow what happened",
		"Events are what the cache did and decided: how requests were served, what was filled, evicted, detached, mended, and\nwhen a backend did not answer. The newest ones are kept (events_max).",
		a.eventList())
}

// eventFlags are what "event list" takes.
type eventFlags struct {
	backend string
	kinds   []string
	since   sinceEvent
	limit   int
	follow  bool
}

func (f *eventFlags) request() (api.EventsRequest, error) {
	r := api.EventsRequest{Since: string(f.since), Backend: backends.Name(f.backend), Limit: f.limit, Newest: true}
	for _, k := range f.kinds {
		r.Kinds = append(r.Kinds, plugin.EventKind(k))
	}
	if f.follow && f.limit > 0 {
		return r, &usageError{errors.New("give either --follow or --limit")}
	}
	return r, nil
}

func (a *app) eventList() *cobra.Command {
	var f eventFlags
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List what happened, oldest first",
		Long: `Lists what happened, oldest first. --follow goes on with new events until it is interrupted, or until the daemon
stops (exit code 9); with -o json it prints one object a line.

` + kindsOfEvents(),
		Example: `  clonecache event list
  clonecache event list --limit 20
  clonecache event list --since 1h --kind evicted,fill_failed,bypassed
  clonecache event list --backend local --since 4711 -o json
  clonecache event list --follow --since 0s`,
		Args: exactly(),
		RunE: func(cmd *cobra.Command, args []string) error {
			r, err := f.request()
			if err != nil {
				return err
			}
			if f.follow {
				return a.followEvents(cmd.Context(), r)
			}
			return ask(a, func(ctx context.Context, c *api.Client) ([]plugin.Event, error) { return c.Events(ctx, r) }, showEvents)(cmd, args)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&f.backend, "backend", "", "only those on this backend or file cache")
	flags.StringSliceVar(&f.kinds, "kind", nil, "only those of these kinds, with commas between them")
	flags.Var(&f.since, "since", "only what happened since: 1h, 7d, a time, or after the event of this ID; default: all that is kept")
	flags.Var((*atMost)(&f.limit), "limit", "at most so many, the newest; 0: all")
	flags.BoolVarP(&f.follow, "follow", "f", false, "go on with new events as they come")
	a.completeAllStores(cmd)
	var kinds []string
	for _, k := range plugin.EventKinds() {
		kinds = append(kinds, string(k.Kind)+"\t"+k.Meaning)
	}
	completes(cmd, "kind", fixed(kinds...))
	return cmd
}

// kindsOfEvents are the kinds that there are, for the help text.
func kindsOfEvents() string {
	const width = 118
	text, line := "", "Kinds:"
	for i, k := range plugin.EventKinds() {
		word := " " + string(k.Kind)
		if i > 0 {
			line += ","
		}
		if len(line)+len(word) > width {
			text, line = text+line+"\n", strings.TrimSpace(word)
			continue
		}
		line += word
	}
	return text + line + "."
}

func showEvents(t *table, events []plugin.Event) {
	t.head(eventHeads...)
	t.spare(eventSpare...)
	for _, e := range events {
		t.row(t.event(e)...)
	}
}

var (
	eventHeads = []string{"ID", "TIME", "KIND", "BACKEND", "IMAGE", "ENTRY", "VOLUME", "REASON", "BYTES", "TOOK", "DETAIL"}
	eventSpare = []string{"ENTRY", "TOOK", "BYTES", "BACKEND", "REASON", "VOLUME", "IMAGE", "TIME"}
	// eventWidths are usually enough: who follows does not know what is still to come.
	eventWidths = []int{6, 23, 11, 8, 22, 13, 12, 14, 8, 7, 60}
)

// event is one event's cells.
func (t *table) event(e plugin.Event) []string {
	bytes, time, at := "", "", "2006-01-02 15:04:05.000"
	if e.Bytes != 0 {
		bytes = t.size(e.Bytes)
	}
	if e.TookMS != 0 {
		time = took(e.TookMS)
	}
	if t.columns > 0 && t.columns < roomy {
		at = "01-02 15:04:05"
	}
	if e.Who != "" {
		e.Detail = e.Who + ": " + e.Detail
	}
	return []string{
		count(e.ID), e.At.In(t.now.Location()).Format(at), string(e.Kind), string(e.Backend), e.ImageID,
		shortID(e.EntryID), string(e.Volume), string(e.Reason), bytes, time, strings.ReplaceAll(e.Detail, "\n", " "),
	}
}

// roomy is a terminal's width from which on times are written out.
const roomy = 160

// followEvents prints events as they come. That somebody ends it is no error.
func (a *app) followEvents(ctx context.Context, r api.EventsRequest) error {
	c, err := a.client()
	if err != nil {
		return err
	}
	show := a.eventJSON
	if a.format != formatJSON {
		lines := a.newEventLines()
		if err := lines.begin(); err != nil {
			return err
		}
		show = lines.write
	}
	if err := c.FollowEvents(ctx, r, show); ctx.Err() == nil || !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

func (a *app) eventJSON(e plugin.Event) error {
	enc := json.NewEncoder(a.Out)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(e); err != nil {
		return fmt.Errorf("write the event: %w", err)
	}
	return nil
}

// eventLines writes events as they come, under columns that stay as they are.
type eventLines struct {
	out     io.Writer
	now     func() time.Time
	look    look
	block   block
	columns []column
}

func (a *app) newEventLines() *eventLines {
	l := &eventLines{out: a.Out, now: a.Now, look: a.lookNow(), block: block{heads: eventHeads, spare: eventSpare}}
	usual := make([]string, len(eventWidths))
	for i, width := range eventWidths {
		usual[i] = strings.Repeat("x", width)
	}
	l.block.rows = [][]string{usual}
	l.columns, _ = l.block.fit(l.look.columns)
	return l
}

func (l *eventLines) begin() error {
	if l.look.bare {
		return nil
	}
	return l.print(eventHeads)
}

func (l *eventLines) write(e plugin.Event) error {
	return l.print(newTable(l.out, l.now(), l.look).event(e))
}

func (l *eventLines) print(cells []string) error {
	shown := make([]string, len(cells))
	for i, c := range cells {
		shown[i] = clean(cell(c))
	}
	for _, line := range l.block.lines(shown, l.columns, l.look.columns) {
		if _, err := fmt.Fprintln(l.out, line); err != nil {
			return fmt.Errorf("write the event: %w", err)
		}
	}
	return nil
}

// sinceEvent is a since, or an event's ID.
type sinceEvent string

func (s *sinceEvent) Set(text string) error {
	if _, err := strconv.ParseUint(text, 10, 63); err == nil {
		*s = sinceEvent(text)
		return nil
	}
	var from since
	if err := from.Set(text); err != nil {
		return fmt.Errorf("%w, or an event's ID", err)
	}
	*s = sinceEvent(from)
	return nil
}

func (s *sinceEvent) String() string { return string(*s) }
func (*sinceEvent) Type() string     { return "span|time|ID" }
