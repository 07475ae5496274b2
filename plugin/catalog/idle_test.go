//go:build databases

package catalog

import (
	"testing"
	"time"
)

// A daemon that stands still in a transaction, as one that was stopped does or whose host has lost its power, keeps others
// waiting for no longer than they have patience.
func TestATransactionThatStandsStillKeepsNobodyWaitingForLong(t *testing.T) {
	cfg := anew(t)
	still, err := Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer still.Close()
	other, err := Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	mustArrive(t, still, me)
	open, err := still.writer.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer open.Rollback() //nolint:errcheck // the server has ended it
	if _, err := open.ExecContext(t.Context(), "UPDATE hosts SET name = 'still'"); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	if err := other.Beat(t.Context(), me, alive); err != nil {
		t.Errorf("what it had locked: %v", err)
	}
	if took := time.Since(began); took > repeatFor {
		t.Errorf("others waited for %v", took)
	}
	if err := open.Commit(); err == nil {
		t.Error("it was committed afterwards")
	}
}
