package journal

import (
	"reflect"
	"testing"
)

// What earlier versions wrote has no store's ID, and is read as it was written.
func TestIntentsOfEarlierVersionsAreRead(t *testing.T) {
	for _, c := range []struct {
		name  string
		kept  Kept
		store string
		// tail is what stands behind the deadline.
		tail string
	}{
		{"before volumes were kept", "", "", ""},
		{"before stores had IDs", InUse, "", "\x06in_use"},
		{"now", "", "a-b", "\x00\x03a-b"},
		{"now, and kept", Unproved, "a-b", "\x08unproved\x03a-b"},
	} {
		t.Run(c.name, func(t *testing.T) {
			want := intent("v")
			plain := appendIntent(nil, want)
			want.Kept, want.Store = c.kept, "a-b"
			if c.store == "" {
				want.Store = ""
			}
			if got := string(appendIntent(nil, want)); got != string(plain)+c.tail {
				t.Errorf("written as %q, want %q behind the deadline", got[len(plain):], c.tail)
			}
			d := decoder{p: append(plain, c.tail...)}
			if got := d.intent(); d.err != nil || len(d.p) > 0 || !reflect.DeepEqual(got, want) {
				t.Errorf("read as %+v, %v, want %+v", got, d.err, want)
			}
		})
	}
	for _, tail := range []string{"\x00", "\x00\x00"} {
		d := decoder{p: append(appendIntent(nil, intent("v")), tail...)}
		if d.intent(); d.err == nil {
			t.Errorf("%q behind the deadline was read", tail)
		}
	}
}
