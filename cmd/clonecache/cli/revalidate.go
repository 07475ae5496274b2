package cli

import (
	"errors"

	"github.com/spf13/cobra"

	"github.com/clonecache/clonecache/plugin"
)

func (a *app) entryRevalidate() *cobra.Command {
	return &cobra.Command{
		Use:   "revalidate ID...",
		Short: "Read and inspect entries' bytes again",
		Long: `Reads each entry's bytes from end to end, compares them with its digest or content sum, and inspects the image by
the rules of now. One that does not pass is dropped, pinned or not: the next request caches the image anew, and
volumes made from it should be looked at (exit code 8). One in quarantine is released if it passes, and stays there
if it does not.`,
		Example:           "  clonecache entry revalidate 0197c2f4",
		Args:              atLeastOne("ID"),
		RunE:              a.revalidate,
		ValidArgsFunction: a.completeEntries,
	}
}

func (a *app) revalidate(cmd *cobra.Command, ids []string) error {
	c, err := a.client()
	if err != nil {
		return err
	}
	results, valid := []plugin.Revalidated{}, true
	for _, id := range ids {
		stop := a.waiting(cmd.Name())
		r, err := c.Revalidate(cmd.Context(), id)
		stop()
		if err != nil {
			if a.format != formatJSON && len(results) > 0 { // what was done is done
				err = errors.Join(err, a.print(results, func(t *table) { showRevalidated(t, results) }))
			}
			return err
		}
		results, valid = append(results, r), valid && r.Valid
	}
	if err := a.print(results, func(t *table) { showRevalidated(t, results) }); err != nil {
		return err
	}
	if !valid {
		return errProblems
	}
	return nil
}

func showRevalidated(t *table, results []plugin.Revalidated) {
	for _, r := range results {
		if r.Valid {
			t.line("%s on %s is valid: %s", shortID(r.Entry.ID), r.Entry.Backend, few(r.Entry.ImageIDs))
			continue
		}
		if r.Entry.QuarantinedAt != nil {
			t.line("%s on %s stays in quarantine: %s", shortID(r.Entry.ID), r.Entry.Backend, r.Detail)
			continue
		}
		t.line("%s on %s was dropped: %s", shortID(r.Entry.ID), r.Entry.Backend, r.Detail)
	}
}
