//go:build ceph

package rbd

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/ceph/go-ceph/rados"

	"github.com/clonecache/clonecache/backends"
)

// command asks the mons something. in and out are JSON.
func command(conn *rados.Conn, prefix string, out any) error {
	in, err := json.Marshal(map[string]string{"prefix": prefix, "format": "json"})
	if err != nil {
		return err
	}
	answer, text, err := conn.MonCommand(in)
	if err != nil {
		return fmt.Errorf("ceph %s: %s: %w", prefix, text, err)
	}
	if err := json.Unmarshal(answer, out); err != nil {
		return fmt.Errorf("ceph %s: %w", prefix, err)
	}
	return nil
}

// poolCapacity is what `ceph df` says of a pool; all zero where no mgr counts.
func poolCapacity(conn *rados.Conn, pool string) (backends.Capacity, error) {
	var df struct {
		Pools []struct {
			Name  string `json:"name"`
			Stats struct {
				Stored   int64 `json:"stored"`
				MaxAvail int64 `json:"max_avail"`
			} `json:"stats"`
		} `json:"pools"`
	}
	if err := command(conn, "df", &df); err != nil {
		return backends.Capacity{}, err
	}
	for _, p := range df.Pools {
		if p.Name == pool {
			return backends.Capacity{TotalBytes: p.Stats.Stored + p.Stats.MaxAvail, FreeBytes: p.Stats.MaxAvail}, nil
		}
	}
	return backends.Capacity{}, nil
}

// hasRoom looks at the flags in the OSD map: writes to a full cluster wait for ever instead of failing.
// backends.ErrNoSpace names the flag.
func hasRoom(conn *rados.Conn, pools ...string) error {
	var dump struct {
		Flags []string `json:"flags_set"`
		Pools []struct {
			Name  string `json:"pool_name"`
			Flags string `json:"flags_names"`
		} `json:"pools"`
	}
	if err := command(conn, "osd dump", &dump); err != nil {
		return err
	}
	if flag := fullFlag(dump.Flags); flag != "" {
		return fmt.Errorf("the cluster is %s: %w", flag, backends.ErrNoSpace)
	}
	for _, p := range dump.Pools {
		if flag := fullFlag(strings.Split(p.Flags, ",")); flag != "" && slices.Contains(pools, p.Name) {
			return fmt.Errorf("pool %s is %s: %w", p.Name, flag, backends.ErrNoSpace)
		}
	}
	return nil
}

// fullFlag is the first of the flags which says that there is no room for what can be done without.
func fullFlag(flags []string) string {
	for _, full := range []string{"full", "full_quota", "backfillfull", "nearfull"} {
		if slices.Contains(flags, full) {
			return full
		}
	}
	return ""
}
