// Package scale tells how the plugin behaves with many entries: what a hit, a start, a decision about
// room, a listing and the report cost at 10 entries and at 100,000, with a million recorded requests.
// Tests count what is asked of backends, and go by ratios within one run, never by a clock alone.
//
// ENTRIES=100000 REQUESTS=1000000 go test -v -run Table ./e2e/scale prints the table.
package scale
