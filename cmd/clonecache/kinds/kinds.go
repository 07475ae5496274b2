// Package kinds has the kinds of backend, of image source and of internal tenant that a configuration may name. Each
// kind is one type with its own keys, which checks them, tries what they name, and opens it; All has one entry
// for each, and nothing outside of this package knows a kind by its name.
//
// What is made of a configuration is the caller's to close. Trying changes nothing.
package kinds

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/backends/rbd"
	"github.com/clonecache/clonecache/cmd/clonecache/config"
	"github.com/clonecache/clonecache/internaltenant"
	"github.com/clonecache/clonecache/plugin"
	"github.com/clonecache/clonecache/plugin/glanceapi"
	"github.com/clonecache/clonecache/plugin/imagesource"
)

// All are the kinds that this program knows. A new kind is its package, a type here, and an entry.
func All() Registry {
	return Registry{
		Backends: map[string]Kind[Backend]{
			"file":   {New: func() Backend { return &fileBackend{} }},
			"rbd":    {New: func() Backend { return &rbdBackend{} }, Missing: rbd.Missing},
			"cinder": {New: func() Backend { return &cinderBackend{} }},
		},
		Sources: map[string]Kind[Source]{
			"directory": {New: func() Source { return &directorySource{} }},
			"http":      {New: func() Source { return &webSource{} }},
			"glance":    {New: func() Source { return newGlanceSource() }},
			"oci":       {New: func() Source { return &ociSource{} }},
		},
		Tenants: map[string]Kind[Tenant]{
			"local":     {New: func() Tenant { return &localTenant{ProjectID: localName, UserID: localName} }},
			"openstack": {New: func() Tenant { return &openstackTenant{} }},
		},
		DefaultTenant: "local",
	}
}

// Host is the installation that stores are opened for.
type Host struct {
	StateDir string
	Instance plugin.InstanceID
	Log      logrus.FieldLogger
}

// Backend is one [[backend]] of some kind.
type Backend interface {
	config.Settings
	// Open opens it. backends.ErrInUse: another process has it open. Errors are else as the kind's package says.
	Open(ctx context.Context, name backends.Name, h Host) (backends.Backend, error)
	// Try finds out whether Open and a start would succeed, without changing anything.
	Try(ctx context.Context, t *Part)
	// Expected is what it will most likely say of itself once it is open: until then requests are answered by its
	// not being open, and not by its not being able to clone. Kind is left out.
	Expected() backends.Info
	// VolumeType is Cinder's volume type for its image-volumes; "": Cinder does not know of them.
	VolumeType() string
}

// Lending is a Backend whose image-volumes Cinder fills, and which are lent to who clones by itself.
type Lending interface {
	Backend
	// CloneTime is what a driver may need for one clone; 0: plugin's default.
	CloneTime() time.Duration
}

// Source is one [[image_source]] of some kind.
type Source interface {
	config.Settings
	// Open makes it. It asks nobody anything yet.
	Open(name string, f Fetching) (imagesource.Source, error)
	// Try finds out whether it answers.
	Try(ctx context.Context, t *Part)
	// Remote tells that it is another host that answers, which takes time.
	Remote() bool
}

// ImageService is a Source before whose service this program can stand.
type ImageService interface {
	Source
	config.Fronted
	// Service is how the service is reached, and the Keystone that says whose tokens are; authURL "": the source's own.
	Service(name, authURL string) (Service, glanceapi.Keystone, error)
}

// Service is how an ImageService's service is reached.
type Service interface {
	glanceapi.Glance
	glanceapi.Publics
}

// Notifying is a Source whose service says on RabbitMQ that it has a new image.
type Notifying interface {
	Source
	// Notifications is where it says so. Its URL is "" where nobody is to listen.
	Notifications() config.Notifications
}

// Fetching is how images are fetched from every source.
type Fetching struct {
	Stall time.Duration     // how long another host may send nothing before it is asked once more; 0: the source's default
	Warn  func(what string) // what a source warns of; nil: nobody hears it
}

// Tenant is the [internal_tenant] of some kind.
type Tenant interface {
	config.Settings
	// Open makes it, with its claims in the ledger where it has no quota of its own. The catalog is open.
	Open(ctx context.Context, cfg config.Config, ledger internaltenant.Ledger, log logrus.FieldLogger) (internaltenant.Owner, error)
	// Try finds out whether it can be used.
	Try(ctx context.Context, cfg config.Config, t *Part)
	// Cinder tells that Cinder makes volumes for it.
	Cinder() bool
}

// Kind is one kind of T.
type Kind[T config.Settings] struct {
	New     func() T // with its defaults
	Missing string   // why this build does not have it; "" where it does
}

// Registry has all kinds by their words.
type Registry struct {
	Backends      map[string]Kind[Backend]
	Sources       map[string]Kind[Source]
	Tenants       map[string]Kind[Tenant]
	DefaultTenant string
}

// Load reads a configuration file, as config.Load.
func (r Registry) Load(file string) (config.Config, error) { return config.Load(file, r.Config()) }

// Parse reads a configuration's text, as config.Parse.
func (r Registry) Parse(text []byte, file string) (config.Config, error) {
	return config.Parse(text, file, r.Config())
}

// Config are the kinds as package config takes them.
func (r Registry) Config() config.Registry {
	return config.Registry{
		Backends: config.Kinds{Of: settings(r.Backends)},
		Sources:  config.Kinds{Of: settings(r.Sources)},
		Tenants:  config.Kinds{Of: settings(r.Tenants), Default: r.DefaultTenant},
	}
}

func settings[T config.Settings](kinds map[string]Kind[T]) map[string]config.Kind {
	all := make(map[string]config.Kind, len(kinds))
	for word, k := range kinds {
		all[word] = config.Kind{New: func() config.Settings { return k.New() }, Missing: k.Missing}
	}
	return all
}

// BackendsHere lists the kinds of backend that this build has.
func (r Registry) BackendsHere() []string {
	var words []string
	for _, word := range slices.Sorted(maps.Keys(r.Backends)) {
		if r.Backends[word].Missing == "" {
			words = append(words, word)
		}
	}
	return words
}

// OfBackend is what a Registry made of a backend's table.
func OfBackend(b config.Backend) Backend { return b.Of.(Backend) }

// OfSource is what a Registry made of an image source's table.
func OfSource(s config.ImageSource) Source { return s.Of.(Source) }

// OfTenant is what a Registry made of the internal tenant's table.
func OfTenant(t config.InternalTenant) Tenant { return t.Of.(Tenant) }
