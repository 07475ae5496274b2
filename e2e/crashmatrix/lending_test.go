package crashmatrix

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/backends/cinder/cindertest"
	"github.com/clonecache/clonecache/e2e/harness"
	"github.com/clonecache/clonecache/plugin"
	"github.com/clonecache/clonecache/plugin/api"
	"github.com/clonecache/clonecache/plugin/failpoint"
)

// notLending are the steps of daemons that make volumes themselves, or read the image.
var notLending = map[failpoint.Step]string{
	failpoint.Source: "Cinder reads the image", failpoint.Verify: "Cinder reads the image",
	failpoint.Intent: "Cinder's driver makes the volume", failpoint.Clone: "Cinder's driver makes the volume", failpoint.Copy: "nothing is copied",
	failpoint.Detach: "no image-volume is known to have clones", failpoint.Offer: "Cinder's driver makes the volume",
}

// lendingTables configure a backend in a Cinder that keeps two volumes at most. Loans end by themselves far later than the test does.
const lendingTables = `
[internal_tenant]
kind = "openstack"
auth_url = %q
user = "owner"
project = "cache"
password_file = %q
[[image_source]]
name = "library"
kind = "directory"
path = %q
[[backend]]
name = "any"
kind = "cinder"
volume_type = %q
max_count = 2
`

// The daemon dies after each step of a loan, of the fill before it, of another generation and of an eviction. Started again it has
// forgotten no loan, since a driver may be at it, and retires nothing that is lent. Once whoever had the loans
// has begun anew, the script goes on, and in the end Cinder has nothing that is ours.
func TestKilledWhileLending(t *testing.T) {
	needDaemon(t)
	// The entry's own room, claim and loan come first, those of another generation second.
	twice := []failpoint.Step{failpoint.Room, failpoint.Claim, failpoint.Lend, failpoint.Return}
	for _, step := range failpoint.All() {
		for n := 1; n == 1 || n == 2 && slices.Contains(twice, step); n++ {
			t.Run(fmt.Sprintf("%s %d", step, n), func(t *testing.T) {
				t.Parallel()
				killWhileLending(t, step, n)
			})
		}
	}
}

func killWhileLending(t *testing.T, step failpoint.Step, n int) {
	l := newLender(t)
	l.KillAfter = fmt.Sprintf("%s:%d", step, n)
	killed := l.TryStart(t) != nil
	if killed && !l.Killed() {
		t.Fatal("the daemon did not start")
	}
	for _, act := range l.script() {
		if !killed {
			if err := act(); err == nil {
				continue
			} else if <-l.Ended(); !l.Killed() {
				t.Fatal(err)
			}
		}
		l.startedAgain(t, step)
		killed = false
		if err := act(); err != nil {
			t.Fatal(err)
		}
	}
	if reached := l.KillAfter == ""; reached && notLending[step] != "" || !reached && n == 1 && notLending[step] == "" {
		t.Errorf("this step was reached: %v, and %q is declared", reached, notLending[step])
	}
	l.nothingLeft(t)
}

// lender is a daemon that lends what a Cinder has.
type lender struct {
	*harness.Daemon
	t      *testing.T
	client *api.Client
	cinder *cindertest.Cinder
}

func newLender(t *testing.T) *lender {
	t.Helper()
	c := cindertest.New(t)
	dir := t.TempDir()
	password := filepath.Join(dir, "password")
	for path, text := range map[string][]byte{password: []byte("secret"), filepath.Join(dir, "a.raw"): make([]byte, 8192), filepath.Join(dir, "b.raw"): make([]byte, 8192)} {
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	d := harness.New(t, harness.Config{Tables: fmt.Sprintf(lendingTables, c.URL, password, dir, cindertest.Type)})
	return &lender{Daemon: d, t: t, client: d.Client(t), cinder: c}
}

// script fills a, lends it twice, the second time from another generation, and keeps that; lends b, for which both go, and deletes
// all.
func (l *lender) script() []func() error {
	return []func() error{
		l.lend("a", backends.Made), l.lend("a", backends.Full), l.keep("a"), l.lend("b", backends.Made),
		func() error {
			_, err := l.client.DeleteAllEntries(l.t.Context(), "any", plugin.ForceDetach(false))
			return err
		},
	}
}

// place is where the fake's image-volumes lie.
const place = "host@lvm#pool"

// lend is an act of a hook: it is lent an image, and says how its clone ended.
func (l *lender) lend(image string, how backends.Return) func() error {
	return func() error {
		a, err := l.lent(image)
		if err != nil {
			return err
		}
		return l.client.EndLoan(l.t.Context(), a.Loan, how)
	}
}

// keep is an act of a hook that keeps what it was lent, until it gives it back.
func (l *lender) keep(image string) func() error {
	return func() error {
		a, err := l.lent(image)
		if err != nil {
			return err
		}
		ctx, cancel := context.WithCancel(l.t.Context())
		ended := make(chan error, 1)
		go func() { ended <- l.client.KeepLoan(ctx, a.Loan) }()
		if l.diesKeeping() { // which it comes to a moment after others see the loan as kept
			defer cancel()
			return <-ended
		}
		err = l.untilKept()
		cancel()
		<-ended
		return errors.Join(err, l.client.EndLoan(l.t.Context(), a.Loan, backends.Made))
	}
}

// diesKeeping tells whether the daemon dies once it keeps a loan.
func (l *lender) diesKeeping() bool { return l.KillAfter == fmt.Sprintf("%s:1", failpoint.Keep) }

// untilKept waits until a loan is kept, or the daemon is gone.
func (l *lender) untilKept() error {
	for {
		loans, err := l.client.Loans(l.t.Context())
		if err != nil || len(loans) == 1 && loans[0].Volume == "" {
			return err
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// lent asks for what a hook asks for.
func (l *lender) lent(image string) (plugin.Answer, error) {
	a, err := l.client.Lend(l.t.Context(), api.LoanRequest{Place: place, Renews: true, CreateRequest: api.CreateRequest{
		Backend: "any", Image: "library:" + image + ".raw", Volume: "v", SizeBytes: gib, VolumeType: cindertest.Type, Deadline: time.Now().Add(time.Hour),
	}})
	if err == nil && a.Loan == "" {
		err = fmt.Errorf("nothing was lent: %+v", a)
	}
	return a, err
}

// startedAgain starts the daemon after its death, and looks at its loans: what was lent still is, until whoever had it begins anew.
func (l *lender) startedAgain(t *testing.T, after failpoint.Step) {
	t.Helper()
	l.KillAfter = ""
	l.Start(t)
	loans, err := l.client.Loans(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	lent := after == failpoint.Lend || after == failpoint.Touch
	either := after == failpoint.Flush || after == failpoint.Keep // any answer may be flushed; what is kept ends within seconds
	if lent != (len(loans) == 1) && !either || len(loans) > 1 {
		t.Errorf("loans after the kill: %+v", loans)
	}
	if ended, err := l.client.EndLoansAt(t.Context(), "any", place); err != nil || ended != len(loans) {
		t.Errorf("ended %d of %d loans: %v", ended, len(loans), err)
	}
}

// nothingLeft checks what is there once all entries are deleted.
func (l *lender) nothingLeft(t *testing.T) {
	t.Helper()
	if left := l.cinder.All(); len(left) != 0 {
		t.Errorf("Cinder still has %d volumes, one of them %+v", len(left), left[0])
	}
	if entries := l.Entries(t); len(entries) != 0 {
		t.Errorf("entries: %+v", entries)
	}
	if loans, err := l.client.Loans(t.Context()); err != nil || len(loans) != 0 {
		t.Errorf("loans: %+v, %v", loans, err)
	}
	if c := l.Check(t); !c.OK {
		t.Errorf("check found problems: %+v", c.Problems)
	}
}
