package config

import (
	"maps"
	"slices"
	"strings"

	"github.com/clonecache/clonecache/backends/rbd"
)

// kind is one value of a "kind" key.
type kind struct {
	keys    []string // that belong to it, beside name and kind
	missing string   // why this build does not have it; "" where it does
}

// These are the kinds that are known. A kind that this build lacks is still known by name, so that the
// operator hears what is missing and not that the word is wrong. A new kind is its package, a line
// here, and a line where cmd opens it.
var (
	backendKinds = map[string]kind{
		"file": {keys: []string{"path", "volume_owner", "volume_group", "volume_mode"}},
		"rbd": {
			keys: []string{
				"pool", "namespace", "image_volume_pool", "conf", "user", "keyring", "features", "call_timeout", "connect_timeout",
				"volume_type", "image_volumes",
			},
			missing: rbd.Missing,
		},
	}
	sourceKinds = map[string]kind{
		"directory": {keys: []string{"path", "serve_stale"}},
		"http":      {keys: []string{"url", "ca_file", "proxy", "user", "password_file", "token_file", "redirects", "serve_stale"}},
		"glance":    {keys: append([]string{"endpoint"}, accountKeys...)},
	}
	tenantKinds = map[string]kind{
		"local":     {keys: []string{"project_id", "user_id", "max_volumes", "max_gigabytes"}},
		"openstack": {keys: append([]string{"max_volumes", "max_gigabytes"}, accountKeys...)},
	}
	accountKeys = []string{
		"cloud", "clouds_file", "auth_url", "user", "user_id", "user_domain", "project", "project_id", "project_domain",
		"password_file", "application_credential_id", "application_credential_secret_file", "region", "interface", "ca_file",
	}
	catalogSchemes = map[string]kind{
		"mysql":    {missing: noSharedCatalog},
		"postgres": {missing: noSharedCatalog},
	}
)

const noSharedCatalog = "this version keeps its catalog in SQLite only, for one host: leave [catalog] out"

// kindKeys are all keys that belong to some kind of kinds and not to every one.
func kindKeys(kinds map[string]kind) []string {
	var keys []string
	for _, k := range kinds {
		keys = append(keys, k.keys...)
	}
	return keys
}

// available lists the kinds that this build has, for an error's remedy.
func available(kinds map[string]kind) string {
	var names []string
	for _, name := range slices.Sorted(maps.Keys(kinds)) {
		if kinds[name].missing == "" {
			names = append(names, `"`+name+`"`)
		}
	}
	return strings.Join(names, " or ")
}

// Kinds lists the kinds of backend, of image source and of internal tenant that this build has.
func Kinds() (backends, sources, tenants []string) {
	have := func(kinds map[string]kind) []string {
		var names []string
		for _, name := range slices.Sorted(maps.Keys(kinds)) {
			if kinds[name].missing == "" {
				names = append(names, name)
			}
		}
		return names
	}
	return have(backendKinds), have(sourceKinds), have(tenantKinds)
}
