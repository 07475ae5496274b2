package internaltenant

import "fmt"

// Resource is what a quota limits.
type Resource string

// The resources of a quota.
const (
	Volumes        Resource = "volumes"
	GigabytesTotal Resource = "gigabytes"
)

// UnknownUse is QuotaError.Used where the quota's keeper does not say it.
const UnknownUse int64 = -1

// QuotaError says which limit a claim would exceed. It matches ErrOverQuota.
type QuotaError struct {
	Resource Resource // under Cinder also of one volume type: "gigabytes_rbd1"
	Limit    int64
	Used     int64 // in use and reserved; or UnknownUse
	Wanted   int64
	Words    string // of the quota's keeper; "": ours
}

func (e *QuotaError) Error() string {
	if e.Words != "" {
		return fmt.Sprintf("%v: %s", ErrOverQuota, e.Words)
	}
	return fmt.Sprintf("%v: max_%s is %d, %d used, %d more wanted", ErrOverQuota, e.Resource, e.Limit, e.Used, e.Wanted)
}

func (e *QuotaError) Unwrap() error { return ErrOverQuota }

// CheckQuota tells whether one more volume of so many gigabytes fits beside what is used. The error is a
// *QuotaError.
func CheckQuota(used Usage, gigabytes int64) error {
	for _, r := range []struct {
		resource Resource
		amounts  Amounts
		wanted   int64
	}{{Volumes, used.Volumes, 1}, {GigabytesTotal, used.Gigabytes, gigabytes}} {
		total := r.amounts.InUse + r.amounts.Reserved
		if limit := r.amounts.Limit; limit != Unlimited && r.wanted > limit-total {
			return &QuotaError{Resource: r.resource, Limit: limit, Used: total, Wanted: r.wanted}
		}
	}
	return nil
}

// Sum adds up the lines of a ledger.
func Sum(claims []LedgerClaim) Usage {
	var u Usage
	for _, c := range claims {
		if c.InUse {
			u.Volumes.InUse++
			u.Gigabytes.InUse += c.Gigabytes
		} else {
			u.Volumes.Reserved++
			u.Gigabytes.Reserved += c.Gigabytes
		}
	}
	return u
}
