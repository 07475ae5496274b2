package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/plugin"
	"github.com/clonecache/clonecache/plugin/api"
)

func (a *app) entry() *cobra.Command {
	return group("entry", "List, show, delete, pin and revalidate cache entries",
		"An entry stands for one cached image: an image-volume on a backend, or a file in a file cache. Its ID may be\nshortened to any 4 characters or more that begin or end no other.",
		a.entryList(), a.entryShow(), a.entryDelete(), a.entryPin(), a.entryUnpin(), a.entryRevalidate())
}

func (a *app) entryList() *cobra.Command {
	var f plugin.EntryFilter
	var backend string
	state := word{allowed: entryStates}
	sorted := sorting[plugin.EntryView]{orders: entryOrders}
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List what is cached",
		Long:  "Lists what is cached, what is being cached, and what is detached: removed, and held until its last clone is\ngone, or until a client that died with it open is missed by its cluster. Nothing is made from that, and it goes by\nitself. Failed fills are listed with --state failed. The daemon sorts by -held, -hits, -used and -clones: with --limit\nthese are the greatest of all. By other columns what was listed is sorted.",
		Example: `  clonecache entry list
  clonecache entry list --backend local --state ready --sort -held
  clonecache entry list --image library:debian-12.qcow2 -o json`,
		Args: exactly(),
		RunE: ask(a, func(ctx context.Context, c *api.Client) ([]plugin.EntryView, error) {
			f.Backend, f.State, f.Sort = backends.Name(backend), state.value, greatestFirst(sorted.chosen)
			entries, err := c.Entries(ctx, f)
			sorted.sort(entries)
			return entries, err
		}, showEntries),
	}
	flags := cmd.Flags()
	flags.StringVar(&backend, "backend", "", "only those of this backend or file cache")
	flags.Var(&state, "state", "only those in this state: "+strings.Join(entryStates, ", "))
	flags.StringVar(&f.ImageID, "image", "", "only those with this image's content (SOURCE:ID)")
	flags.StringVar(&f.Contains, "contains", "", "only those with this in their ID, or in the SOURCE:ID of an image")
	flags.StringVar(&f.After, "after", "", "only those after this whole ID, for paging; with --sort -COLUMN after this list_place")
	flags.Var((*atMost)(&f.Limit), "limit", "at most so many; 0: all")
	sorted.flag(cmd)
	a.completeAllStores(cmd)
	completes(cmd, "state", fixed(entryStates...))
	return cmd
}

// greatestFirst is the daemon's order for a column with - before it; "" where it has none of that.
func greatestFirst(column string) plugin.EntrySort {
	name, greatest := strings.CutPrefix(column, "-")
	if order := plugin.EntrySort(name); greatest && order != plugin.SortAge && slices.Contains(plugin.EntrySorts, order) {
		return order
	}
	return ""
}

var entryStates = []string{"filling", "ready", "evicting", "detached", "failed"}

func showEntries(t *table, entries []plugin.EntryView) {
	t.head("ENTRY", "BACKEND", "STATE", "IMAGE", "DISK", "HELD", "HITS", "CLONES", "PINNED", "CREATED", "LAST USED")
	t.spare("PINNED", "CREATED", "CLONES", "DISK", "HITS", "LAST USED", "STATE", "BACKEND")
	id := shortIDs(entries, func(e plugin.EntryView) string { return e.ID })
	for _, e := range entries {
		state := e.State
		if e.State == "filling" && e.ReadBytes > 0 {
			state += " (" + t.size(e.ReadBytes) + " read)"
		}
		if e.SupersededAt != nil {
			state += " (superseded)"
		}
		if e.QuarantinedAt != nil {
			state += " (quarantined)"
		}
		if !e.Configured {
			state += " (not configured)"
		}
		t.row(id(e.ID), string(e.Backend), state, few(e.ImageIDs), t.size(e.VirtualBytes), t.size(e.HeldBytes),
			count(e.Hits), count(e.Clones), yesNo(e.Pinned), t.ago(e.CreatedAt), t.ago(e.LastUsedAt))
	}
}

func (a *app) entryShow() *cobra.Command {
	return &cobra.Command{
		Use:     "show ID",
		Short:   "Show all that is known of an entry",
		Long:    "Shows all that is known of an entry, and what happened to it but for hits, as far as its events are kept.",
		Example: "  clonecache entry show 0197c2f4",
		Args:    exactly("ID"),
		RunE: func(cmd *cobra.Command, args []string) error {
			var happened []plugin.Event
			return ask(a, func(ctx context.Context, c *api.Client) (plugin.EntryView, error) {
				entry, err := c.Entry(ctx, args[0])
				if err == nil && a.format != formatJSON {
					happened, err = c.EntryEvents(ctx, entry.ID)
				}
				return entry, err
			}, func(t *table, e plugin.EntryView) {
				showEntry(t, e)
				showHappened(t, "What happened to it:", happened)
			})(cmd, args)
		},
		ValidArgsFunction: a.completeEntries,
	}
}

func showEntry(t *table, e plugin.EntryView) {
	t.row("Entry", e.ID)
	t.row("Backend", string(e.Backend))
	t.row("State", e.State)
	if e.Error != "" {
		t.row("Error", e.Error)
	}
	t.row("Images", strings.Join(e.ImageIDs, ", "))
	t.row("Digest", e.Digest)
	t.row("Format", e.DiskFormat)
	t.row("Form", e.Form)
	t.row("Image-volume", e.ImageVolume)
	t.row("Image", t.size(e.SourceBytes))
	t.row("Disk", t.size(e.VirtualBytes))
	t.row("Held", t.size(e.HeldBytes))
	if e.ReadBytes > 0 {
		t.row("Read so far", t.size(e.ReadBytes))
	}
	t.row("Hits", count(e.Hits))
	t.row("Clones", count(e.Clones))
	if len(e.Dependents) > 0 {
		t.row("Dependents", listed(e.Dependents))
	}
	t.row("Pinned", pinned(e))
	t.row("Inspector", "version "+count(e.InspectorVersion))
	t.row("Created", t.moment(e.CreatedAt))
	t.row("Generation", count(e.Generation))
	switch {
	case e.SupersededBy != "":
		t.row("Superseded", "by "+e.SupersededBy+", "+t.moment(*e.SupersededAt))
	case e.SupersededAt != nil:
		t.row("Superseded", "its image is gone from the source, or beyond keep of what is followed, "+t.moment(*e.SupersededAt))
	}
	t.row("Last used", t.moment(e.LastUsedAt))
	if e.VerifiedAt != nil {
		t.row("Read back", t.moment(*e.VerifiedAt))
	}
	if e.QuarantinedAt != nil {
		t.row("Quarantined", t.moment(*e.QuarantinedAt)+": "+e.Quarantine)
		t.row("Made from it", listed(e.MadeFrom))
	}
}

// listed are names one after another, the first ones of many.
func listed[T ~string](names []T) string {
	const most = 20
	var b strings.Builder
	for i, name := range names {
		switch {
		case i == most:
			fmt.Fprintf(&b, " (+%d)", len(names)-most)
			return b.String()
		case i > 0:
			b.WriteString(", ")
		}
		b.WriteString(string(name))
	}
	return b.String()
}

func (a *app) entryPin() *cobra.Command {
	return a.pinning("pin ID", "Keep an entry from eviction", "Keeps an entry from eviction and from being deleted, until it is unpinned.", true)
}

func (a *app) entryUnpin() *cobra.Command {
	return a.pinning("unpin ID", "Let an entry be evicted again", "Lets an entry be evicted and deleted again.", false)
}

func (a *app) pinning(use, short, long string, pin plugin.Pinning) *cobra.Command {
	verb, _, _ := strings.Cut(use, " ")
	return &cobra.Command{
		Use:     use,
		Short:   short,
		Long:    long,
		Example: "  clonecache entry " + verb + " 0197c2f4",
		Args:    exactly("ID"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return ask(a, func(ctx context.Context, c *api.Client) (plugin.EntryView, error) {
				return c.SetPinned(ctx, args[0], pin)
			}, func(t *table, e plugin.EntryView) {
				t.line("%s on %s is %sned: %s", shortID(e.ID), e.Backend, verb, few(e.ImageIDs))
			})(cmd, args)
		},
		ValidArgsFunction: a.completeEntries,
	}
}

// pinned is whether an entry is, and by whom.
func pinned(e plugin.EntryView) string {
	if e.PinnedBy == "rule" {
		return "yes, by a rule that follows its image"
	}
	return yesNo(e.Pinned)
}
