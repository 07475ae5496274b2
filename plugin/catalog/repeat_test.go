package catalog

import (
	"context"
	"errors"
	"io"
	"os"
	"testing"
	"time"
)

// TestEachKindOfFailureHasItsOwnPatience: a transaction is repeated as long as its last kind of failure is worth it, whatever it
// has met before.
func TestEachKindOfFailureHasItsOwnPatience(t *testing.T) {
	clash := errors.New("a row is there")
	c := &Catalog{place: Place{scheme: schemeMariaDB}, dialect: dialect{failed: func(err error) failure {
		if errors.Is(err, clash) {
			return clashing
		}
		return connectionFailed(err)
	}}}
	type try struct {
		err   error
		takes time.Duration
	}
	many := func(n int, of try) (all []try) {
		for range n {
			all = append(all, of)
		}
		return all
	}
	raced, down := try{errRaced, time.Second}, try{io.ErrUnexpectedEOF, time.Second}
	stood := try{io.ErrUnexpectedEOF, 7 * time.Second}
	for name, test := range map[string]struct {
		before []try
		last   try
		want   bool
	}{
		"in the way":                         {nil, raced, true},
		"in the way for long":                {many(19, raced), raced, false},
		"a row is there":                     {nil, try{clash, 0}, true},
		"after many in the way":              {many(10, raced), try{clash, 0}, true},
		"a row is there all the time":        {many(4, try{clash, 0}), try{clash, 0}, false},
		"no answer":                          {nil, down, true},
		"no answer for long":                 {many(2, down), down, false},
		"no answer after many in the way":    {many(10, raced), down, true},
		"no answer, an answer, no answer":    {append(many(2, down), raced), down, true},
		"this process stood still":           {nil, stood, true},
		"it stood still, and there is none":  {many(1, stood), down, false},
		"it stood still once more":           {[]try{stood, raced}, stood, true},
		"the server waited for":              {nil, try{io.ErrUnexpectedEOF, answerWithin}, false},
		"a connection waited for":            {nil, try{os.ErrDeadlineExceeded, connectWithin}, false},
		"whether it has happened is unknown": {nil, try{&undecidedError{io.EOF}, 0}, false},
		"an error of ours":                   {nil, try{errors.New("wrong"), 0}, false},
		"cancelled":                          {nil, try{context.Canceled, 0}, false},
	} {
		now := time.Unix(1000, 0)
		all := tries{c: c, began: now}
		next := func(one try) bool {
			at := now
			now = now.Add(one.takes)
			return all.again(one.err, at, now)
		}
		for i, one := range test.before {
			if !next(one) {
				t.Errorf("%s: not tried again after %d", name, i+1)
			}
		}
		if got := next(test.last); got != test.want {
			t.Errorf("%s: tried again: %v, want %v", name, got, test.want)
		}
	}
}

// TestWhoWasGivenUpSaysWhatWasInTheWay: a transaction whose context ends in one of its tries tells what the try before met.
func TestWhoWasGivenUpSaysWhatWasInTheWay(t *testing.T) {
	c := &Catalog{place: Place{scheme: schemeMariaDB}, dialect: dialect{failed: func(err error) failure { return connectionFailed(err) }}}
	ctx, cancel := context.WithCancel(t.Context())
	tries := 0
	err := c.repeat(ctx, func() error {
		if tries++; tries == 1 {
			return io.ErrUnexpectedEOF
		}
		cancel()
		return ctx.Err()
	})
	if tries != 2 || !errors.Is(err, context.Canceled) || !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("after %d tries: %v, want both", tries, err)
	}
}
