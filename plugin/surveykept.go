package plugin

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
)

// surveyKept tells of volumes that were kept.
func (rec *reconciler) surveyKept() []finding {
	var findings []finding
	all := rec.ladder.kept()
	byName := func(a, b volumeKey) int {
		return cmp.Or(cmp.Compare(a.backend, b.backend), cmp.Compare(a.volume, b.volume))
	}
	for _, key := range slices.SortedFunc(maps.Keys(all), byName) {
		findings = append(findings, finding{Problem: Problem{
			Kind: "kept-volume", Backend: key.backend, ID: string(key.volume),
			Detail: fmt.Sprintf("volume %s was kept, and perhaps nobody knows of it: %s", key.volume, keptDetails[all[key]]),
			Remedy: keptRemedy(key.volume),
		}})
	}
	return findings
}
