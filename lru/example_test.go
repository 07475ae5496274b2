package lru_test

import (
	"fmt"
	"log"
	"time"

	"github.com/clonecache/clonecache/lru"
)

// A store of three entries is bounded to 300 bytes, and another one of 150 bytes is to come. The entry that was not
// used for longest goes first; one that is pinned stays however old it is.
func ExamplePlan() {
	now := time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)
	held := lru.Load{Entries: []lru.Entry{
		{ID: "debian", Bytes: 100, LastUsed: now.Add(-3 * time.Hour), Pinned: true},
		{ID: "fedora", Bytes: 100, LastUsed: now.Add(-2 * time.Hour)},
		{ID: "ubuntu", Bytes: 100, LastUsed: now.Add(-1 * time.Hour)},
	}}
	victims, err := lru.Plan(now, lru.Need{Bytes: 150, Count: 1}, held.Stock(), lru.Bounds{MaxBytes: 300})
	if err != nil {
		log.Fatal(err)
	}
	for _, v := range victims {
		fmt.Printf("%s goes, by %s\n", v.ID, v.Cause)
	}

	_, err = lru.Plan(now, lru.Need{Bytes: 400, Count: 1}, held.Stock(), lru.Bounds{MaxBytes: 300})
	fmt.Println(err)
	// Output:
	// fedora goes, by size
	// ubuntu goes, by size
	// larger than the bound: 400 bytes needed, max_size allows 300
}
