package config

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
	"time"
)

const (
	minFollowEvery = 10 * time.Second // every; docs/configuration.md states these too
	maxFollowEvery = 30 * day
	maxFollowKeep  = 10_000
)

// follows checks each [[follow]] as far as the file alone tells.
func (c *checker) follows(cfg *Config) {
	sources, groups, stores := make(map[string]bool), make(map[string]bool), make(map[string]bool)
	for _, s := range cfg.ImageSources {
		sources[s.Name] = true
	}
	for _, g := range cfg.Groups {
		groups[g.Name] = true
	}
	for _, b := range cfg.Backends {
		stores[b.Name] = true
	}
	for _, f := range cfg.FileCaches {
		stores[f.Name] = true
	}
	for i, f := range cfg.Follows {
		at := fmt.Sprintf("follow[%d]", i)
		c.followed(at, f)
		c.duration(at+".every", f.Every, minFollowEvery, maxFollowEvery)
		between(c, at+".keep", f.Keep, 0, maxFollowKeep)
		if f.Source != "" && !sources[f.Source] {
			c.problem(at+".source", fmt.Sprintf("there is no image source named %q", f.Source), "name an [[image_source]]"+listed(slices.Sorted(maps.Keys(sources))))
		}
		c.followedThere(at, cfg.ImageSources, f)
		if f.Group != "" && !groups[f.Group] {
			c.problem(at+".group", fmt.Sprintf("there is no group named %q", f.Group), "name a [[group]]"+listed(slices.Sorted(maps.Keys(groups))))
		}
		if f.Group != "" && len(f.Backends) > 0 {
			c.problem(at+".group", "backends and group exclude each other", "remove one")
		}
		for k, name := range f.Backends {
			if !stores[name] {
				c.problem(fmt.Sprintf("%s.backends[%d]", at, k), fmt.Sprintf("there is no backend or file cache named %q", name),
					"name a [[backend]] or a [[file_cache]]"+listed(slices.Sorted(maps.Keys(stores))))
			}
		}
	}
}

// followed checks which images a rule names.
func (c *checker) followed(at string, f Follow) {
	named := 0
	for _, is := range []bool{f.Image != "", f.URL != "", f.matching()} {
		if is {
			named++
		}
	}
	switch {
	case named == 0:
		c.problem(at, "it names no image", "give image, url, or pattern, tag, property and owner")
	case named > 1:
		c.problem(at, "image, url, and pattern, tag, property and owner exclude each other", "give one rule for each")
	case f.URL == "" && f.Source == "":
		c.problem(at+".source", "it is required", "name an [[image_source]]")
	case f.URL != "" && f.Source != "":
		c.problem(at+".source", "the url says which source it is", "leave it out")
	case strings.Contains(f.URL, "?"):
		c.problem(at+".url", "it has a query, which may be a credential", "give a URL without one")
	}
	if _, err := path.Match(f.Pattern, ""); err != nil {
		c.problem(at+".pattern", "it is no pattern: a '[' is not closed, or a '\\' ends it", `write it as "debian-12-*.qcow2"`)
	}
	if key, _, is := strings.Cut(f.Property, "="); f.Property != "" && (!is || key == "") {
		c.problem(at+".property", fmt.Sprintf("%q is not KEY=VALUE", f.Property), `write it as "os_distro=debian"`)
	}
}

// followedThere checks whether the rule's source, by its kind, can follow as the rule has it.
func (c *checker) followedThere(at string, sources []ImageSource, f Follow) {
	served := f.URL == ""
	for _, s := range sources {
		if web, is := s.Of.(Web); is && !served {
			served = web.Serves(f.URL)
		}
		by, is := s.Of.(Followed)
		if !is || s.Name != f.Source || f.matching() == (f.Image != "") {
			continue
		}
		if what, remedy := by.CheckFollow(f); what != "" {
			c.problem(at, what, remedy)
		}
	}
	if !served {
		c.problem(at+".url", "no image source of kind \"http\" is on its host", "name an image below the url of an [[image_source]]")
	}
}

// matching tells whether the rule is about all images that match.
func (f Follow) matching() bool {
	return f.Pattern != "" || f.Tag != "" || f.Property != "" || f.Owner != ""
}
