// Package lru decides which entries of a cache go, given bounds. It is pure: no I/O, no clock, no
// state. The caller brings the entries, the need and the time, and carries out the plan.
package lru
