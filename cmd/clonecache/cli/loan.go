package cli

import (
	"cmp"
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/plugin"
	"github.com/clonecache/clonecache/plugin/api"
)

func (a *app) loan() *cobra.Command {
	return group("loan", "Show and end loans of image-volumes",
		"Where only Cinder's own driver can clone, the hook is lent an image-volume for each volume that it makes, and says what\nbecame of it. Nothing that is lent is evicted.",
		a.loanList(), a.loanEnd())
}

func (a *app) loanList() *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "List the loans that live",
		Long: `Lists the loans that live, the oldest first: which volume is made of which, where, and when the loan ends by itself.
That is the backend's clone_time after it was lent or last renewed, or after its request's deadline where nobody
renews it. After a hit the hook keeps what it was lent for a minute, for the next volume of the image: such a loan is
of no volume, and is given back as soon as the image-volume is to go.`,
		Example: `  clonecache loan list
  clonecache loan list -o json`,
		Args: exactly(),
		RunE: ask(a, func(ctx context.Context, c *api.Client) ([]plugin.LoanView, error) { return c.Loans(ctx) }, showLoans),
	}
}

func showLoans(t *table, loans []plugin.LoanView) {
	t.head("LOAN", "BACKEND", "LENT", "VOLUME", "PLACE", "SINCE", "UNTIL")
	t.spare("PLACE", "UNTIL", "BACKEND", "SINCE")
	id := shortIDs(loans, func(l plugin.LoanView) string { return string(l.ID) })
	for _, l := range loans {
		t.row(id(string(l.ID)), string(l.Backend), string(l.Generation), cmp.Or(string(l.Volume), "(kept)"), string(l.Place), t.ago(l.LentAt), t.moment(l.LentUntil))
	}
}

func (a *app) loanEnd() *cobra.Command {
	return &cobra.Command{
		Use:   "end NAME PLACE",
		Short: "End the loans of a cinder-volume that is gone",
		Long: `Ends the loans of backend NAME for all volumes that were to be made in a place: Cinder's HOST@BACKEND#POOL, or
HOST@BACKEND for all of its pools. Use it where the cinder-volume of that place is gone for good: it makes these volumes
no more, and does not say so. Without it the loans end by themselves. What is lent to a cinder-volume that still clones
must stay: an image-volume that is evicted meanwhile is deleted under its hands.

Exit code 2: PLACE is none. Exit code 6: no backend is called that.`,
		Example: `  clonecache loan end lvm ctl1@lvm
  clonecache loan end netapp ctl1@netapp#aggr1 -o json`,
		Args: exactly("NAME", "PLACE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if host, backend, _ := strings.Cut(args[1], "@"); host == "" || backend == "" {
				return &usageError{fmt.Errorf("%s is no place: it is HOST@BACKEND or HOST@BACKEND#POOL, as `clonecache loan list` shows", args[1])}
			}
			return a.endLoans(cmd.Context(), backends.Name(args[0]), backends.Place(args[1]))
		},
	}
}

// endedLoans is what "loan end -o json" answers.
type endedLoans struct {
	Ended int `json:"ended"`
}

func (a *app) endLoans(ctx context.Context, backend backends.Name, at backends.Place) error {
	c, err := a.client()
	if err != nil {
		return err
	}
	n, err := c.EndLoansAt(ctx, backend, at)
	if err != nil {
		return err
	}
	return a.print(endedLoans{n}, func(t *table) { t.line("%d loans ended", n) })
}
