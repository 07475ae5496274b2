// Package config reads clonecache's configuration file: TOML, strictly. An unknown key is a problem,
// a value out of its bounds is a problem, nothing is clamped, and all problems are reported at once,
// each with its line, its key and a remedy.
//
// What a table's kind adds to it (Kinds) comes from the caller: the package knows no kind by its name.
//
// The package reads the configuration file and looks symbolic links up; it changes nothing and opens
// nothing else. docs/configuration.md documents every key; a test compares it with the types.
package config

import (
	"time"

	"github.com/clonecache/clonecache/plugin/oslomsg"
)

// Config is the whole file, with defaults filled in and paths made absolute.
type Config struct {
	StateDir            Path           `toml:"state_dir"`
	Listen              []Listen       `toml:"listen"`
	SocketGroup         string         `toml:"socket_group"`
	SocketMode          FileMode       `toml:"socket_mode"`
	TLS                 TLS            `toml:"tls"`
	TokenFile           SecretFile     `toml:"token_file"`
	InsecureLoopback    bool           `toml:"insecure_loopback"`
	MetricsListen       []Listen       `toml:"metrics_listen"`
	MetricsTokenFile    SecretFile     `toml:"metrics_token_file"`
	ScratchDir          Path           `toml:"scratch_dir"`
	ScratchMaxSize      Size           `toml:"scratch_max_size"`
	AcceptFormats       []string       `toml:"accept_formats"`
	AcceptCompression   []string       `toml:"accept_compression"`
	MaxCompressionRatio int64          `toml:"max_compression_ratio"`
	FillLimit           int            `toml:"fill_limit"`
	MaxFillsPerProject  int            `toml:"max_fills_per_project"` // 0: no bound
	StopTimeout         Duration       `toml:"stop_timeout"`
	StallTimeout        Duration       `toml:"stall_timeout"`
	ReportRetention     Duration       `toml:"report_retention"`
	KeepFailed          Duration       `toml:"keep_failed"`
	CleanEvery          Duration       `toml:"clean_every"`
	ScrubEvery          Duration       `toml:"scrub_every"`
	ScrubShare          int            `toml:"scrub_share"`
	EventsMax           int            `toml:"events_max"`
	LogLevel            string         `toml:"log_level"`
	LogFormat           string         `toml:"log_format"`
	Catalog             Catalog        `toml:"catalog"`
	InternalTenant      InternalTenant `toml:"internal_tenant"`
	ImageSources        []ImageSource  `toml:"image_source"`
	Backends            []Backend      `toml:"backend"`
	FileCaches          []FileCache    `toml:"file_cache"`
	Groups              []Group        `toml:"group"`
	Follows             []Follow       `toml:"follow"`
	Tokens              []Token        `toml:"token"`
	Certificates        []Certificate  `toml:"certificate"`
	API                 API            `toml:"api"`
	Webhooks            []Webhook      `toml:"webhook"`
	Notifications       Notifications  `toml:"notifications"`
	GlanceAPI           GlanceAPI      `toml:"glance_api"`

	// Warnings are what is allowed but probably not meant.
	Warnings []Problem `toml:"-"`
}

// TLS is what TCP listeners present.
type TLS struct {
	CertFile Path       `toml:"cert_file"`
	KeyFile  SecretFile `toml:"key_file"`
	// ClientCAFile has the authority of clients' certificates. "": none is asked for.
	ClientCAFile Path `toml:"client_ca_file"`
}

// Token is a bearer token, and what its bearer may do.
type Token struct {
	File SecretFile `toml:"file"`
	Role string     `toml:"role"`
	Name string     `toml:"name"` // for events; "": the file's
}

// Certificate is what the bearer of a client's certificate may do.
type Certificate struct {
	Name string `toml:"name"` // its subject's common name
	Role string `toml:"role"`
}

// Webhook is a URL that events are posted to.
type Webhook struct {
	Name       string     `toml:"name"`
	URL        string     `toml:"url"`
	SecretFile SecretFile `toml:"secret_file"`
	Kinds      []string   `toml:"kinds"`
}

// Notifications says where OpenStack's notifications go to. "": nowhere.
type Notifications struct {
	URL          string     `toml:"url"`
	PasswordFile SecretFile `toml:"password_file"`
	Exchange     string     `toml:"exchange"`
	Topic        string     `toml:"topic"`
}

// Catalog says where entries are kept: "" is a SQLite file in state_dir.
type Catalog struct {
	URL          string     `toml:"url"`
	PasswordFile SecretFile `toml:"password_file"`
	CAFile       Path       `toml:"ca_file"`
}

// GlanceAPI says where Glance's API is served. Listen empty: nowhere.
type GlanceAPI struct {
	Listen  []Listen `toml:"listen"`
	AuthURL string   `toml:"auth_url"`
	Source  string   `toml:"source"`
	// FileCache keeps what is downloaded; "": nothing is kept.
	FileCache string   `toml:"file_cache"`
	Backends  []string `toml:"backends"`
	Roles     []string `toml:"roles"`
	// AnonymousPublic: public images may be downloaded without a token.
	AnonymousPublic bool       `toml:"anonymous_public"`
	CertFile        Path       `toml:"cert_file"`
	KeyFile         SecretFile `toml:"key_file"`
}

// InternalTenant owns the image-volumes. Its account is of its kind.
type InternalTenant struct {
	Kinded
	MaxVolumes   int64 `toml:"max_volumes"`
	MaxGigabytes int64 `toml:"max_gigabytes"`
}

// ImageSource is one place where images come from. Where that is, is of its kind.
type ImageSource struct {
	Kinded
	Name     string   `toml:"name"`
	FreshFor Duration `toml:"fresh_for"`
	// MaxBandwidth is bytes a second. 0: no bound, as of MaxFills.
	MaxBandwidth Size `toml:"max_bandwidth"`
	MaxFills     int  `toml:"max_fills"`
}

// setDefaults is called on each [[image_source]] before its keys are read.
func (s *ImageSource) setDefaults() { s.FreshFor = Duration(day) }

// Backend is one place where volumes live, and what its cache may hold. Which place that is, is of its kind.
type Backend struct {
	Kinded
	Name           string   `toml:"name"`
	MaxSize        Size     `toml:"max_size"`
	MaxCount       int      `toml:"max_count"`
	MaxPercent     int      `toml:"max_percent"`
	MinAge         Duration `toml:"min_age"`
	MinHits        int64    `toml:"min_hits"`
	EvictInUse     bool     `toml:"evict_in_use"`
	EvictForQuota  bool     `toml:"evict_for_quota"`
	MaxIdle        Duration `toml:"max_idle"`
	RemoveUnused   Duration `toml:"remove_unused_after"`
	Share          string   `toml:"share"`
	Fallback       string   `toml:"fallback"`
	RequestTimeout Duration `toml:"request_timeout"`
	MaxWaiting     int      `toml:"max_waiting"`
	MaxFills       int      `toml:"max_fills"` // 0: no bound
	Enabled        bool     `toml:"enabled"`
}

// FileCache is one plain file cache.
type FileCache struct {
	Name         string   `toml:"name"`
	Path         Path     `toml:"path"`
	MaxSize      Size     `toml:"max_size"`
	MaxCount     int      `toml:"max_count"`
	MaxPercent   int      `toml:"max_percent"`
	MinAge       Duration `toml:"min_age"`
	MinHits      int64    `toml:"min_hits"`
	MaxIdle      Duration `toml:"max_idle"`
	RemoveUnused Duration `toml:"remove_unused_after"`
}

// Group names several backends, or file caches, at once.
type Group struct {
	Name     string   `toml:"name"`
	Backends []string `toml:"backends"`
}

// Follow names images that are to be cached always.
type Follow struct {
	Source   string   `toml:"source"`
	Image    string   `toml:"image"`
	Pattern  string   `toml:"pattern"`
	Tag      string   `toml:"tag"`
	Property string   `toml:"property"`
	Owner    string   `toml:"owner"`
	URL      string   `toml:"url"`
	Keep     int      `toml:"keep"`
	Every    Duration `toml:"every"`
	Backends []string `toml:"backends"`
	Group    string   `toml:"group"`
	Pin      bool     `toml:"pin"`
}

// setDefaults is called on each [[follow]] before its keys are read.
func (f *Follow) setDefaults() { f.Every = Duration(300 * time.Second) }

// The words of keys that take one of a few.
const (
	ShareOwner = "owner" // an entry serves images of one owner, and public ones
	ShareAll   = "all"   // an entry serves every image of equal content

	RoleReader   = "reader"
	RoleOperator = "operator"
	RoleAdmin    = "admin"

	LogText = "text"
	LogJSON = "json"
)

const gib = 1 << 30

// Default is what an empty file means, but for what the default kinds mean.
func Default() Config {
	return Config{
		StateDir:            "/var/lib/clonecache",
		Listen:              []Listen{{Network: "unix", Address: "/run/clonecache/clonecache.sock"}},
		SocketMode:          0o660,
		ScratchMaxSize:      20 * gib,
		AcceptFormats:       []string{"raw", "qcow2", "iso"},
		AcceptCompression:   []string{"gzip", "xz", "zstd", "bzip2"},
		MaxCompressionRatio: 1000,
		FillLimit:           4,
		StopTimeout:         Duration(30 * time.Second),
		StallTimeout:        Duration(30 * time.Second),
		ReportRetention:     Duration(90 * day),
		KeepFailed:          Duration(day),
		CleanEvery:          Duration(day),
		ScrubEvery:          Duration(7 * day),
		ScrubShare:          5,
		EventsMax:           10_000,
		LogLevel:            "info",
		LogFormat:           LogText,
		Notifications:       Notifications{Exchange: oslomsg.DefaultExchange, Topic: oslomsg.DefaultTopic},
	}
}

// setDefaults is called on each [[backend]] before its keys are read.
func (b *Backend) setDefaults() {
	b.EvictInUse = true
	b.Enabled = true
	b.EvictForQuota = true
	b.Share = ShareOwner
}

// setDefaults is called on each [[file_cache]] before its keys are read.
func (c *FileCache) setDefaults() { c.MaxSize = 10 * gib }
