//go:build race

package randomops

// slower is by how much the race detector slows the database down: so many fewer operations are tried.
const slower = 40
