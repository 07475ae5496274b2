package catalog

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"testing"

	"github.com/go-sql-driver/mysql"
)

// unreached is a server that nothing comes of but an error.
type unreached struct{ err error }

func (u unreached) Connect(context.Context) (driver.Conn, error) { return nil, u.err }
func (unreached) Driver() driver.Driver                          { return nil }

// A request whose own time is not over is not told that it is, where a server does not answer.
func TestAServersSilenceIsNoCallersDeadline(t *testing.T) {
	over, cancel := context.WithTimeout(t.Context(), 0)
	defer cancel()
	mute := fmt.Errorf("a:3306: %w", context.DeadlineExceeded)
	busy := errors.Join(mute, fmt.Errorf("b:3306: %w", &mysql.MySQLError{Number: tooManyConnections}))
	for _, c := range []struct {
		name    string
		ctx     context.Context
		met     error
		callers bool
	}{
		{"silent", t.Context(), mute, false},
		{"one silent, one busy", t.Context(), busy, false},
		{"the caller's time is over", over, mute, true},
	} {
		_, err := ownPatience{unreached{c.met}}.Connect(c.ctx)
		if got := errors.Is(err, context.DeadlineExceeded); got != c.callers {
			t.Errorf("%s: %v, the caller's deadline: %v, want %v", c.name, err, got, c.callers)
		}
		if got := mariaDBFailed(err); got != unavailable {
			t.Errorf("%s: %v is %v, want unavailable", c.name, err, got)
		}
		if got := postgresFailed(err); got != unavailable {
			t.Errorf("%s: %v is %v to PostgreSQL, want unavailable", c.name, err, got)
		}
		if got, want := numberOf(err), numberOf(c.met); got != want {
			t.Errorf("%s: says %d, want %d", c.name, got, want)
		}
	}
}
