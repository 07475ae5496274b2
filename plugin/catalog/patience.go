package catalog

import (
	"context"
	"database/sql/driver"
	"errors"
)

// ownPatience is a connector that tells its own patience from its caller's: both drivers, and net, say
// context.DeadlineExceeded of either. A request is refused where its own time is over, and goes round the cache where a server
// does not answer.
type ownPatience struct{ driver.Connector }

// Connect implements driver.Connector.
func (p ownPatience) Connect(ctx context.Context) (driver.Conn, error) {
	conn, err := p.Connector.Connect(ctx)
	if err != nil && ctx.Err() == nil && errors.Is(err, context.DeadlineExceeded) {
		err = unansweredError{err}
	}
	return conn, err
}

// unansweredError is one that errors.As finds all of, and errors.Is nothing.
type unansweredError struct{ error }

// As lets the kinds of errors be found that it consists of.
func (u unansweredError) As(target any) bool { return errors.As(u.error, target) }
