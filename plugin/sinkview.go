package plugin

import "time"

// SinkView is a place that events go to, as admins see it.
type SinkView struct {
	Name          string       `json:"name"`
	Position      int64        `json:"position" doc:"The ID of the last event that it has, or that did not concern it"`
	Sent          int64        `json:"sent" doc:"Events that it took since the daemon was started"`
	Failures      int64        `json:"failures" doc:"Attempts that failed since then"`
	BehindSeconds float64      `json:"behind_seconds" doc:"How long ago the event happened that it does not take; 0 where it has them all"`
	LastError     string       `json:"last_error" doc:"Why the last attempt failed; empty once one succeeds"`
	DeadCount     int64        `json:"dead_letters" doc:"Events that were given up for good, in all"`
	Lost          int64        `json:"lost" doc:"How many events the log dropped (events_max) before the sink could take them, in all: of all kinds and hosts, so that its own are that many at most"`
	Dead          []DeadLetter `json:"dead" doc:"The newest of them"`
}

// DeadLetter is an event that a sink never took.
type DeadLetter struct {
	Event   Event     `json:"event"`
	Error   string    `json:"error" doc:"Why, at the last attempt"`
	GivenUp time.Time `json:"given_up_at"`
}
