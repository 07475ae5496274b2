package api

import (
	"context"
	"net/http"
	"net/url"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/plugin"
)

// LoanRequest asks for an image-volume that the caller makes the volume from by itself. The backend is required.
type LoanRequest struct {
	CreateRequest
	Place  backends.Place // where the volume is to be; "": anywhere
	Renews bool           // the caller calls RenewLoan after each Answer.RenewSeconds
}

// Lend asks for a loan and waits for it: Answer.Loan, which EndLoan ends. An answer with outcome bypassed is no error.
func (c *Client) Lend(ctx context.Context, r LoanRequest) (plugin.Answer, error) {
	return fetch[plugin.Answer](ctx, c, call{method: http.MethodPost, path: loansPath(r.Backend), body: lendBody{Place: r.Place, Renews: r.Renews, CreateBody: r.body()}, token: r.Token})
}

// Loans lists the loans that live, the oldest first.
func (c *Client) Loans(ctx context.Context) ([]plugin.LoanView, error) {
	return fetch[[]plugin.LoanView](ctx, c, call{method: http.MethodGet, path: "/v1/loans"})
}

// EndLoan says what became of the volume that an image-volume was lent for. One that has ended already stays so.
func (c *Client) EndLoan(ctx context.Context, id plugin.LoanID, how backends.Return) error {
	_, err := fetch[struct{}](ctx, c, call{method: http.MethodPut, path: "/v1/loans/" + url.PathEscape(string(id)), body: loanEnd{End: how}})
	return err
}

// RenewLoan says that the volume is still being made, so that the loan lasts on. An error of code loan_not_found says that it has ended,
// and that what was lent may be gone.
func (c *Client) RenewLoan(ctx context.Context, id plugin.LoanID) error {
	_, err := fetch[struct{}](ctx, c, call{method: http.MethodPost, path: "/v1/loans/" + url.PathEscape(string(id)) + "/renew"})
	return err
}

// KeepLoan says that the volume is made, and keeps what was lent for the next one. It returns when that is to be given back by EndLoan,
// which is a minute later, or as soon as the image-volume is to go. When ctx ends, the loan ends by itself within seconds. An error of code
// loan_not_found says that it has ended.
func (c *Client) KeepLoan(ctx context.Context, id plugin.LoanID) error {
	_, err := fetch[struct{}](ctx, c, call{method: http.MethodPost, path: "/v1/loans/" + url.PathEscape(string(id)) + "/keep"})
	return err
}

// EndLoansAt ends the loans for all volumes that were to be made in a place, of a backend, and returns how many they were.
func (c *Client) EndLoansAt(ctx context.Context, backend backends.Name, at backends.Place) (int, error) {
	ended, err := fetch[loansEnded](ctx, c, call{method: http.MethodPut, path: loansPath(backend), body: loansEnd{Place: at, End: backends.NotMade}})
	return ended.Ended, err
}

func loansPath(backend backends.Name) string {
	return "/v1/backends/" + url.PathEscape(string(backend)) + "/loans"
}
