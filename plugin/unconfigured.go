package plugin

import (
	"fmt"
	"maps"
	"slices"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/internaltenant"
	"github.com/clonecache/clonecache/plugin/catalog"
)

// Entries of a store that is not configured any more stay: they serve again once it is. They are shown as
// such, and a person may delete them; what lies on the store then stays there.

// notConfigured is the kind of problem that such entries are.
const notConfigured = "not-configured"

// abandoned are the entries of one store that is not configured, added up.
type abandoned struct {
	name      backends.Name
	entries   int64
	bytes     int64
	claims    int64
	gigabytes int64
}

// unconfigured are the entries of stores that are not configured, on no host, by store.
func (v *surveyor) unconfigured(rows []catalog.Entry) map[backends.StoreID]abandoned {
	all := make(map[backends.StoreID]abandoned)
	for _, e := range rows {
		if v.stock.storeOf(e.Store) != nil || v.stock.hostOf(e.Store) != "" {
			continue
		}
		a := all[e.Store]
		a.name, a.entries, a.bytes = v.stock.label(e.Store), a.entries+1, a.bytes+e.CountedBytes()
		if e.Claim != "" {
			a.claims, a.gigabytes = a.claims+1, a.gigabytes+internaltenant.Gigabytes(e.VirtualBytes)
		}
		all[e.Store] = a
	}
	return all
}

// surveyUnconfigured finds entries of stores that are not configured.
func (v *surveyor) surveyUnconfigured(rows []catalog.Entry) []finding {
	all := v.unconfigured(rows)
	var findings []finding
	for _, id := range slices.Sorted(maps.Keys(all)) {
		a := all[id]
		findings = append(findings, finding{Problem: Problem{
			Kind: notConfigured, Backend: a.name, ID: string(id),
			Detail: fmt.Sprintf("%d entries of %d bytes lie on %s, which is not configured", a.entries, a.bytes, a.name),
			Remedy: fmt.Sprintf("configure it again, under whatever name, and they serve again; or delete them with `clonecache entry delete --all --backend %s`", a.name),
		}})
	}
	return findings
}

// explainUnconfigured tells what the quota is charged for on stores that are not configured.
func (rec *reconciler) explainUnconfigured(q *Quota, rows []catalog.Entry) {
	all := rec.surveyor.unconfigured(rows)
	for _, id := range slices.Sorted(maps.Keys(all)) {
		if a := all[id]; a.claims > 0 {
			q.warn("%d volumes and %d GiB are charged for entries on %s, which is not configured; they are not in `actual`; configure it again, or delete them with `clonecache entry delete --all --backend %s`",
				a.claims, a.gigabytes, a.name, a.name)
		}
	}
}
