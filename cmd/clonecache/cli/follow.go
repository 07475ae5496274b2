package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/clonecache/clonecache/plugin"
	"github.com/clonecache/clonecache/plugin/api"
)

func (a *app) follow() *cobra.Command {
	return group("follow", "Show which images are followed",
		"Images that a [[follow]] of the daemon's configuration names are cached before anybody asks for them, and so is each\nnewer version. \"prefetch --sweep\" looks for those at once.",
		a.followList())
}

func (a *app) followList() *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "List the images that are followed",
		Long: `Lists the rules by which images are followed, with the images that each found when this daemon looked last: whether
they are there (ready), in the queue (queued), given up by it (failed), taken by a bound (evicted), or not known since
their source did not tell (unknown).`,
		Example: `  clonecache follow list
  clonecache follow list -o json`,
		Args: exactly(),
		RunE: ask(a, func(ctx context.Context, c *api.Client) ([]plugin.FollowView, error) { return c.Follows(ctx) }, showFollows),
	}
}

func showFollows(t *table, views []plugin.FollowView) {
	t.head("RULE", "KEEP", "IMAGE", "BACKEND", "STATE", "LOOKED", "DETAIL")
	t.spare("KEEP", "LOOKED")
	for _, v := range views {
		keep, looked := "all", "never"
		if v.Keep > 0 {
			keep = count(v.Keep)
		} else if v.Image != "" || v.URL != "" {
			keep = "1"
		}
		if v.LookedAt != nil {
			looked = max(t.now.Sub(*v.LookedAt), 0).Round(time.Second).String() + " ago"
		}
		if len(v.Images) == 0 {
			t.row(ruleName(v), keep, "", "", "", looked, cmp.Or(sentence(v.Error), "no image matches"))
		}
		for _, i := range v.Images {
			t.row(ruleName(v), keep, i.ImageID, string(i.Backend), i.State, looked, sentence(cmp.Or(i.Detail, v.Error)))
		}
	}
}

// ruleName is a rule in few words.
func ruleName(v plugin.FollowView) string {
	var parts []string
	for _, p := range []struct{ key, value string }{{"image", v.Image}, {"pattern", v.Pattern}, {"tag", v.Tag}, {"property", v.Property}, {"owner", v.Owner}} {
		if p.value != "" {
			parts = append(parts, p.key+" "+p.value)
		}
	}
	if v.URL != "" {
		return v.URL
	}
	return fmt.Sprintf("%s: %s", v.Source, strings.Join(parts, ", "))
}

// runSweep is "prefetch --sweep".
func (a *app) runSweep(ctx context.Context, f *prefetchFlags, images []string) error {
	r := f.request
	if len(images) > 0 || len(f.backends) > 0 || r.Group != "" || r.All || f.pin || f.wait || r.Priority != 0 {
		return &usageError{errors.New("--sweep looks at what the configuration follows, and takes no image and no other flag")}
	}
	c, err := a.client()
	if err != nil {
		return err
	}
	views, err := c.Sweep(ctx)
	if err != nil {
		return err
	}
	return a.print(views, func(t *table) { showFollows(t, views) })
}
