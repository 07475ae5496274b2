package api_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/plugin"
	"github.com/clonecache/clonecache/plugin/api"
)

// told sends one request to a daemon, and returns the answer's status and body.
func told(t *testing.T, d *daemon, method, path, body string) (int, string) {
	t.Helper()
	caller := &http.Client{Timeout: time.Minute, Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", d.socket)
	}}}
	defer caller.CloseIdleConnections()
	req, err := http.NewRequestWithContext(t.Context(), method, "http://clonecache"+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := caller.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(answer)
}

func TestALoanIsAskedForListedAndEnded(t *testing.T) {
	fake := newFake()
	until := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	fake.create = func(_ context.Context, r plugin.Request) (plugin.Answer, error) {
		lent := plugin.Lent{Loan: "l1", Generation: "g1", Place: r.Place, LentUntil: &until}
		if r.Renews {
			lent.RenewSeconds = 7.5
		}
		return plugin.Answer{Outcome: plugin.Hit, Reason: plugin.ReasonReady, Backend: r.Backend, Volume: r.Volume, Lent: lent}, nil
	}
	d := startDaemon(t, fake, api.ServerConfig{})
	for _, c := range []struct {
		method, path, body string
		status             int
		want               string
	}{
		{"POST", "/v1/backends/lvm/loans", `{"image":"glance:i","volume":"v","place":"h@b#p"}`, 200, `"loan":"l1","lent":"g1","place":"h@b#p","lent_until":"2026-01-02T03:04:05Z"`},
		{"POST", "/v1/backends/lvm/loans", `{"volume":"v"}`, 400, "image"},
		{"GET", "/v1/loans", "", 200, `"volume":"v1"`},
		{"POST", "/v1/backends/lvm/loans", `{"image":"glance:i","volume":"v","place":"h@b#p","renews":true}`, 200, `"renew_seconds":7.5`},
		{"POST", "/v1/loans/l1/renew", "", 204, ""},
		{"POST", "/v1/loans/l2/renew", "", 404, `"code":"loan_not_found"`},
		{"PUT", "/v1/loans/l1", `{"end":"made"}`, 204, ""},
		{"PUT", "/v1/loans/l1", `{"end":"lost"}`, 400, "end"},
		{"PUT", "/v1/backends/lvm/loans", `{"place":"h@b","end":"not_made"}`, 200, `{"ended":2}`},
		{"PUT", "/v1/backends/lvm/loans", `{"place":"h@b","end":"made"}`, 400, "end"},
	} {
		status, body := told(t, d, c.method, c.path, c.body)
		if status != c.status || !strings.Contains(body, c.want) {
			t.Errorf("%s %s %s: got %d %s, want %d with %s", c.method, c.path, c.body, status, body, c.status, c.want)
		}
	}
	askClient(t, d.client)
	asked := fake.lastAsked()
	if !asked.Lend || asked.Place != "h@b#p" || asked.Backend != "lvm" {
		t.Errorf("asked: %+v", asked)
	}
	if want := []string{"l1 made", "lvm h@b", "l1 full", "lvm h@b"}; !slices.Equal(fake.ended, want) {
		t.Errorf("ended: got %v, want %v", fake.ended, want)
	}
}

// askClient has the client ask for the same as the bodies do.
func askClient(t *testing.T, c *api.Client) {
	t.Helper()
	lent, err := c.Lend(t.Context(), api.LoanRequest{Place: "h@b#p", CreateRequest: api.CreateRequest{Backend: "lvm", Image: "glance:i", Volume: "v"}})
	if err != nil || lent.Loan != "l1" || lent.Generation != "g1" {
		t.Errorf("lent: %+v, %v", lent, err)
	}
	if loans, err := c.Loans(t.Context()); err != nil || len(loans) != 1 || loans[0].ID != "l1" {
		t.Errorf("loans: %+v, %v", loans, err)
	}
	if err := errors.Join(c.RenewLoan(t.Context(), "l1"), c.KeepLoan(t.Context(), "l1"), c.EndLoan(t.Context(), "l1", backends.Full)); err != nil {
		t.Error(err)
	}
	var refused *api.Error
	if err := c.RenewLoan(t.Context(), "l2"); !errors.As(err, &refused) || refused.Code != "loan_not_found" {
		t.Errorf("renewing a loan that has ended: %v", err)
	}
	if err := c.KeepLoan(t.Context(), "l2"); !errors.As(err, &refused) || refused.Code != "loan_not_found" {
		t.Errorf("keeping a loan that has ended: %v", err)
	}
	if n, err := c.EndLoansAt(t.Context(), "lvm", "h@b"); err != nil || n != 2 {
		t.Errorf("ended %d: %v", n, err)
	}
}
