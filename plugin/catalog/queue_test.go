package catalog

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/clonecache/clonecache/backends"
)

// queue enqueues an image in each of some stores.
func queue(t testing.TB, c *Catalog, image string, priority int, stores ...string) []Queued {
	t.Helper()
	var specs []QueueSpec
	for _, s := range stores {
		specs = append(specs, QueueSpec{Store: backends.StoreID(s), Image: image, Priority: priority})
	}
	rows, err := c.Enqueue(t.Context(), specs)
	if err != nil || len(rows) != len(stores) {
		t.Fatalf("queue %s: %d rows, %v", image, len(rows), err)
	}
	return rows
}

// taken are the images and stores of rows, in their order.
func taken(rows []Queued) []string {
	var all []string
	for _, r := range rows {
		all = append(all, r.Image+" "+string(r.Store))
	}
	return all
}

func mustTake(t testing.TB, c *Catalog, h Holder, want ...string) []Queued {
	t.Helper()
	rows, err := c.TakeQueued(t.Context(), h, lease, LeaveQueued{})
	if err != nil || !slices.Equal(taken(rows), want) {
		t.Fatalf("take: got %q, %v, want %q", taken(rows), err, want)
	}
	for _, r := range rows {
		if r.State != QueueRunning || r.Lease != h {
			t.Errorf("taken: %+v, want it to be running under %+v", r, h)
		}
	}
	return rows
}

func TestTheQueueGoesByPriorityAndThenByAge(t *testing.T) {
	c, _ := fresh(t)
	queue(t, c, "first", 0, "local")
	queue(t, c, "second", 0, "local", "fast")
	queue(t, c, "urgent", 5, "local")
	queue(t, c, "last", -1, "local")
	queue(t, c, "last", -1, "local") // keeps its one row
	mustTake(t, c, me, "urgent local")
	mustTake(t, c, you, "first local")
	mustTake(t, c, me, "second local", "second fast")
	queue(t, c, "raised", 0, "local")
	queue(t, c, "last", 7, "local")
	mustTake(t, c, me, "last local")
	mustTake(t, c, me, "raised local")
	mustTake(t, c, me)
}

func TestAnAttemptEndsByWhoHoldsIt(t *testing.T) {
	c, at := fresh(t)
	ctx := t.Context()
	queue(t, c, "image", 0, "local")
	row := mustTake(t, c, me, "image local")[0]
	is(t, "another's renewal", c.KeepQueued(ctx, row, you, lease, FillProgress{}), ErrNotQueued)
	is(t, "another's end", c.EndQueued(ctx, row, you, QueueEnd{State: QueueDone}), ErrNotQueued)
	is(t, "renew", c.KeepQueued(ctx, row, me, lease, FillProgress{Read: 3, Total: 9}), nil)
	look := func(what string, state QueueState, attempts int, text string, next time.Time) {
		t.Helper()
		all, err := c.Queue(ctx)
		if err != nil || len(all) != 1 {
			t.Fatalf("%s: %+v, %v", what, all, err)
		}
		r := all[0]
		if r.State != state || r.Attempts != attempts || r.LastError != text || !r.NextTryAt.Equal(next) {
			t.Errorf("%s: got %s, attempt %d, %q, next try %s, want %s, %d, %q, %s", what, r.State, r.Attempts, r.LastError, r.NextTryAt, state, attempts, text, next)
		}
	}
	look("renewed", QueueRunning, 1, "", time.Time{})

	next := at.now().Add(time.Minute)
	is(t, "again", c.EndQueued(ctx, row, me, QueueEnd{State: QueueWaiting, Error: "no route", Again: time.Minute}), nil)
	look("to be tried again", QueueWaiting, 1, "no route", next)
	is(t, "ended once", c.EndQueued(ctx, row, me, QueueEnd{State: QueueDone}), ErrNotQueued)
	mustTake(t, c, me)
	at.add(time.Minute)
	row = mustTake(t, c, me, "image local")[0]
	is(t, "broken off", c.EndQueued(ctx, row, me, QueueEnd{State: QueueWaiting, Uncounted: true}), nil)
	row = mustTake(t, c, me, "image local")[0]
	is(t, "fail", c.EndQueued(ctx, row, me, QueueEnd{State: QueueFailed, Error: "refused"}), nil)
	look("failed", QueueFailed, 2, "refused", time.Time{})
	mustTake(t, c, me)

	is(t, "retry", c.RetryQueued(ctx, row.ID), nil)
	row = mustTake(t, c, me, "image local")[0]
	is(t, "retry what runs", c.RetryQueued(ctx, row.ID), ErrNotQueued)
	is(t, "done", c.EndQueued(ctx, row, me, QueueEnd{State: QueueDone, Entry: "e"}), nil)
	is(t, "retry what is done", c.RetryQueued(ctx, row.ID), ErrNotQueued)
	if n, err := c.ExpireQueue(ctx, QueueDone, at.now()); n != 1 || err != nil {
		t.Errorf("expire: %d, %v", n, err)
	}
	is(t, "delete what is gone", c.DeleteQueued(ctx, row.ID), ErrNotQueued)
}

func TestRowsOfTheDeadWaitAgain(t *testing.T) {
	c, at := fresh(t)
	ctx := t.Context()
	queue(t, c, "mine", 0, "local")
	queue(t, c, "yours", 0, "local")
	mine, yours := mustTake(t, c, me, "mine local")[0], mustTake(t, c, you, "yours local")[0]

	next := Holder{Instance: me.Instance, Incarnation: "2"}
	is(t, "resume", c.ResumeQueue(ctx, next), nil)
	mustTake(t, c, next, "mine local") // at once
	mustTake(t, c, next)
	is(t, "the dead one's end", c.EndQueued(ctx, mine, me, QueueEnd{State: QueueDone}), ErrNotQueued)

	at.add(lease - time.Second)
	is(t, "renew", c.KeepQueued(ctx, mine, next, lease, FillProgress{}), ErrNotQueued) // it is at its second attempt
	mustTake(t, c, next)
	at.add(time.Second)
	got, err := c.TakeQueued(ctx, me, lease, LeaveQueued{})
	if err != nil || len(got) != 1 {
		t.Fatalf("after the leases: %q, %v", taken(got), err)
	}
	mustTake(t, c, me, "yours local")
	is(t, "the late one's end", c.EndQueued(ctx, yours, you, QueueEnd{State: QueueDone}), ErrNotQueued)
}

func TestImagesOfSomeSourcesAreLeftInTheQueue(t *testing.T) {
	c, _ := fresh(t)
	queue(t, c, "web:first", 5, "local")
	queue(t, c, "web2:second", 3, "local")
	queue(t, c, "library:web:third", 0, "local")
	take := func(but ...string) []string {
		rows, err := c.TakeQueued(t.Context(), me, lease, LeaveQueued{Sources: but})
		if err != nil {
			t.Fatal(err)
		}
		return taken(rows)
	}
	for _, step := range []struct{ but, want []string }{
		{[]string{"web", "web2", "library"}, nil},
		{[]string{"web", "web2"}, []string{"library:web:third local"}},
		{[]string{"web"}, []string{"web2:second local"}},
		{nil, []string{"web:first local"}},
	} {
		if got := take(step.but...); !slices.Equal(got, step.want) {
			t.Errorf("but of %q: got %q, want %q", step.but, got, step.want)
		}
	}
}

// What is to be left for one store is taken all the same with an image that is next for another one.
func TestWhatIsForSomeStoresIsLeftInTheQueue(t *testing.T) {
	c, _ := fresh(t)
	queue(t, c, "web:first", 5, "full")
	queue(t, c, "web:second", 3, "full", "local")
	queue(t, c, "library:third", 0, "local")
	for _, step := range []struct {
		but  LeaveQueued
		want []string
	}{
		{LeaveQueued{Stores: []backends.StoreID{"full", "local"}}, nil},
		{LeaveQueued{Stores: []backends.StoreID{"full"}, Sources: []string{"web"}}, []string{"library:third local"}},
		{LeaveQueued{Stores: []backends.StoreID{"full"}}, []string{"web:second full", "web:second local"}},
		{LeaveQueued{Stores: []backends.StoreID{"local"}}, []string{"web:first full"}},
	} {
		rows, err := c.TakeQueued(t.Context(), me, lease, step.but)
		got := taken(rows)
		slices.Sort(got)
		if err != nil || !slices.Equal(got, step.want) {
			t.Errorf("but for %+v: got %q, %v, want %q", step.but, got, err, step.want)
		}
	}
}

func TestWhatHasEndedIsQueuedAnew(t *testing.T) {
	c, at := fresh(t)
	ctx := t.Context()
	first := queue(t, c, "image", 3, "local")[0]
	row := mustTake(t, c, me, "image local")[0]
	is(t, "fail", c.EndQueued(ctx, row, me, QueueEnd{State: QueueFailed, Error: "refused"}), nil)
	at.add(time.Hour)
	again := queue(t, c, "image", 0, "local")[0]
	if again.ID != first.ID || again.State != QueueWaiting || again.Attempts != 0 || again.LastError != "" || again.Priority != 0 || !again.QueuedAt.After(first.QueuedAt) {
		t.Errorf("queued anew: %+v", again)
	}
	if n, err := c.ClearQueue(ctx); n != 1 || err != nil {
		t.Errorf("clear: %d, %v", n, err)
	}
}

// However many take at once, each row is one worker's.
func TestEachRowIsTakenOnce(t *testing.T) {
	c, _ := fresh(t)
	const images, workers = 60, 6
	var specs []QueueSpec
	for i := range images {
		specs = append(specs, QueueSpec{Store: "local", Image: fmt.Sprintf("image-%03d", i), Priority: i % 3})
	}
	if _, err := c.Enqueue(t.Context(), specs); err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	got := make(map[string]int)
	var all sync.WaitGroup
	for i := range workers {
		all.Go(func() {
			h := Holder{Instance: InstanceID(fmt.Sprint("host-", i)), Incarnation: "1"}
			for {
				rows, err := c.TakeQueued(t.Context(), h, time.Hour, LeaveQueued{})
				if err != nil {
					t.Error(err)
				}
				if len(rows) == 0 {
					return
				}
				mu.Lock()
				for _, r := range rows {
					got[r.Image]++
				}
				mu.Unlock()
			}
		})
	}
	all.Wait()
	for image, n := range got {
		if n != 1 {
			t.Errorf("%s was taken %d times", image, n)
		}
	}
	if len(got) != images {
		t.Errorf("%d images were taken, want %d", len(got), images)
	}
}

func TestAPinThatCameMeanwhileIsNotForgotten(t *testing.T) {
	c, _ := fresh(t)
	ctx := t.Context()
	queue(t, c, "image", 0, "local")
	row := mustTake(t, c, me, "image local")[0]
	if _, err := c.Enqueue(ctx, []QueueSpec{{Store: "local", Image: "image", Pin: true}}); err != nil {
		t.Fatal(err)
	}
	is(t, "done without the pin", c.EndQueued(ctx, row, me, QueueEnd{State: QueueDone}), nil)
	if row = mustTake(t, c, me, "image local")[0]; !row.Pin || row.Attempts != 1 {
		t.Fatalf("taken again: %+v, want it to be pinned at the first attempt", row)
	}
	is(t, "done with it", c.EndQueued(ctx, row, me, QueueEnd{State: QueueDone}), nil)
	mustTake(t, c, me)
}

// A pin is a rule's only where no person wants it; a person who asks while the image is being cached is not forgotten.
func TestWhoseAPinInTheQueueIs(t *testing.T) {
	person, rule, none := QueueSpec{Pin: true}, QueueSpec{Pin: true, PinByRule: true}, QueueSpec{}
	for name, c := range map[string]struct {
		first, then QueueSpec
		byRule      bool
		again       bool // what was begun for the first is not done for both
	}{
		"nobody, then a rule":       {none, rule, true, true},
		"a rule twice":              {rule, rule, true, false},
		"a rule, then nobody":       {rule, none, true, false},
		"a rule, then a person":     {rule, person, false, true},
		"a person, then a rule":     {person, rule, false, false},
		"a person, then one person": {person, person, false, false},
	} {
		t.Run(name, func(t *testing.T) {
			catalog, _ := fresh(t)
			enqueue := func(spec QueueSpec) Queued {
				spec.Store, spec.Image = "local", "library:a"
				rows, err := catalog.Enqueue(t.Context(), []QueueSpec{spec})
				if err != nil {
					t.Fatal(err)
				}
				return rows[0]
			}
			enqueue(c.first)
			row := mustTake(t, catalog, me, "library:a local")[0]
			got := enqueue(c.then)
			if !got.Pin || got.PinByRule != c.byRule {
				t.Errorf("got %+v", got)
			}
			is(t, "end", catalog.EndQueued(t.Context(), row, me, QueueEnd{State: QueueDone}), nil)
			all, err := catalog.Queue(t.Context())
			if err != nil || len(all) != 1 || (all[0].State == QueueWaiting) != c.again {
				t.Errorf("after its end: %+v, %v, want it to wait again: %v", all, err, c.again)
			}
		})
	}
}

// An image is queued in each form by a row of its own, and all of them are taken together.
func TestAnImageIsQueuedInEachForm(t *testing.T) {
	c, _ := fresh(t)
	specs := []QueueSpec{
		{Store: "files", Image: "image"}, {Store: "files", Image: "image", Form: backends.Source},
		{Store: "local", Image: "image", Form: backends.Decoded}, {Store: "files", Image: "image", Form: backends.Source},
	}
	rows, err := c.Enqueue(t.Context(), specs)
	if err != nil || len(rows) != len(specs) || rows[1].ID != rows[3].ID {
		t.Fatalf("queue: %+v, %v", rows, err)
	}
	got, err := c.TakeQueued(t.Context(), me, lease, LeaveQueued{Sources: []string{"other"}})
	if err != nil || len(got) != 3 {
		t.Fatalf("take: %+v, %v, want three rows", got, err)
	}
	for i, want := range specs[:3] {
		if want.Form == "" {
			want.Form = backends.Decoded
		}
		if got[i].Image != "image" || got[i].Form != want.Form || got[i].Store != want.Store {
			t.Errorf("row %d: %+v, want %+v", i, got[i], want)
		}
	}
	if err := c.EndQueued(t.Context(), got[1], me, QueueEnd{State: QueueDone}); err != nil {
		t.Fatal(err)
	}
	all, err := c.Queue(t.Context())
	if err != nil || len(all) != 3 || all[2].Form != backends.Source || all[2].State != QueueDone {
		t.Errorf("queue: %+v, %v", all, err)
	}
}
