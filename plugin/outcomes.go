package plugin

// Outcomes are all outcomes, each with the reasons that it may have. A test holds that all reasons are there.
func Outcomes() map[Outcome][]Reason {
	elsewhere := []Reason{
		ReasonCannotClone, ReasonCloneLimit, ReasonOverQuota, ReasonNoTenant, ReasonTenantDown, ReasonMismatch, ReasonNoRoom,
		ReasonTooLarge, ReasonBackendFull, ReasonUnavailable, ReasonScratchFull, ReasonCacheError,
	}
	return map[Outcome][]Reason{
		Hit:    {ReasonReady, ReasonRepeated},
		Filled: {ReasonMiss},
		Joined: {ReasonInFlight},
		Direct: {ReasonOnBackend},
		Copied: elsewhere,
		Bypassed: append([]Reason{
			ReasonFilling, ReasonManyWaiting, ReasonEncrypted, ReasonUnsuitable, ReasonUndelivered, ReasonDeadline, ReasonStopping,
		}, elsewhere...),
	}
}
