package kinds

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/clonecache/clonecache/backends/rbd"
	"github.com/clonecache/clonecache/cmd/clonecache/config"
	"github.com/clonecache/clonecache/internaltenant/keystone"
	"github.com/clonecache/clonecache/plugin/api"
)

var update = flag.Bool("update", false, "write the golden files anew")

// golden compares got with a golden file below testdata.
func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s: got\n%s\nwant\n%s", file, got, want)
	}
}

func TestEveryProblemIsReportedAtOnce(t *testing.T) {
	names := []string{"values", "kinds", "directories", "syntax", "empty", "openstack", "web", "paths", "cinder", "glanceapi", "oci", "scrub", "hearing", "metrics"}
	if rbd.Missing == "" {
		names = append(names, "rbd", "openstack-ceph")
	}
	for _, name := range names {
		t.Run(name, func(t *testing.T) {
			text, err := os.ReadFile("testdata/" + name + ".toml")
			if err != nil {
				t.Fatal(err)
			}
			_, err = All().Parse(text, "/etc/clonecache/clonecache.toml")
			if err == nil {
				t.Fatal("Parse: no problem")
			}
			if name == "kinds" && rbd.Missing == "" {
				name += "-ceph" // what is missing depends on the build
			}
			golden(t, name+".problems", err.Error()+"\n")
		})
	}
}

func TestParseFillsEveryField(t *testing.T) {
	text, err := os.ReadFile("testdata/good.toml")
	if err != nil {
		t.Fatal(err)
	}
	got, err := All().Parse(text, "/etc/clonecache/clonecache.toml")
	if err != nil {
		t.Fatal(err)
	}
	want := config.Config{
		StateDir:         "/var/lib/clonecache",
		Listen:           []config.Listen{{Network: "unix", Address: "/run/clonecache/clonecache.sock"}, {Network: "tcp", Address: "127.0.0.1:8780"}},
		SocketGroup:      "cinder",
		SocketMode:       0o660,
		InsecureLoopback: true,
		MetricsListen:    []config.Listen{{Network: "tcp", Address: "127.0.0.1:9780"}}, MetricsTokenFile: "/etc/clonecache/metrics-token",
		ScratchDir:          "/var/lib/clonecache/scratch",
		ScratchMaxSize:      5 << 30,
		AcceptFormats:       []string{"raw", "qcow2"},
		AcceptCompression:   []string{"zstd"},
		MaxCompressionRatio: 50,
		FillLimit:           2,
		MaxFillsPerProject:  3,
		StopTimeout:         config.Duration(time.Minute),
		StallTimeout:        config.Duration(45 * time.Second),
		ReportRetention:     config.Duration(30 * day),
		KeepFailed:          config.Duration(2 * day),
		CleanEvery:          config.Duration(12 * time.Hour),
		ScrubEvery:          config.Duration(3 * day),
		ScrubShare:          7,
		EventsMax:           500,
		LogLevel:            "debug",
		LogFormat:           "json",
		InternalTenant: config.InternalTenant{Kinded: config.Kinded{Kind: "local", Of: &localTenant{ProjectID: "cache", UserID: "cache-user"}},
			MaxVolumes: 50, MaxGigabytes: 200},
		ImageSources: []config.ImageSource{
			{Name: "library", FreshFor: config.Duration(day), Kinded: config.Kinded{Kind: "directory", Of: &directorySource{Path: "/var/lib/images"}}},
			{Name: "web", FreshFor: config.Duration(day), Kinded: config.Kinded{Kind: "http", Of: &webSource{URL: "https://images.example.org/debian"}}},
		},
		Backends: []config.Backend{{Name: "local", MaxSize: 200 << 30, MaxCount: 50, MaxPercent: 80, MinAge: config.Duration(10 * time.Minute),
			MinHits: 2, MaxIdle: config.Duration(30 * day), RemoveUnused: config.Duration(2 * day), Share: "all", Fallback: "files", RequestTimeout: config.Duration(5 * time.Minute), MaxWaiting: 8, MaxFills: 3,
			Kinded: config.Kinded{Kind: "file", Of: &fileBackend{
				Path: "/var/lib/volumes", VolumeOwner: "libvirt-qemu", VolumeGroup: "kvm", VolumeMode: 0o660,
			}}}},
		FileCaches: []config.FileCache{{Name: "files", Path: "/var/cache/clonecache", MaxSize: 10 << 30, MaxCount: 100}},
		Groups:     []config.Group{{Name: "fast", Backends: []string{"local"}}},
		Tokens:     []config.Token{{File: "/etc/clonecache/token-reader", Role: "reader", Name: "billing"}},
		Webhooks:   []config.Webhook{{Name: "pager", URL: "https://pager.example.org/x", SecretFile: "/etc/clonecache/hook", Kinds: []string{"back"}}},
		Notifications: config.Notifications{URL: "amqps://cc@rabbit.example.org/", PasswordFile: "/etc/clonecache/rabbit",
			Exchange: "cloud", Topic: "told"},
		Follows: []config.Follow{{Source: "library", Pattern: "debian-12-*.qcow2", Keep: 2, Every: config.Duration(time.Minute), Group: "fast", Pin: true}},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

const day = 24 * time.Hour

func TestAnOpenStackTenantHasNoDefaultsOfTheLocalOne(t *testing.T) {
	const text = `
[internal_tenant]
kind = "openstack"
auth_url = "https://keystone.example.org:5000"
user = "cinder-internal"
project = "cinder-internal"
password_file = "secrets/password"
ca_file = "ca.pem"
` + small
	cfg, err := All().Parse([]byte("state_dir = \"state\"\n"+text), "/srv/cc/clonecache.toml")
	if err != nil {
		t.Fatal(err)
	}
	want := keystone.Config{
		AuthURL: "https://keystone.example.org:5000", User: "cinder-internal", Project: "cinder-internal",
		PasswordFile: "/srv/cc/secrets/password", CAFile: "/srv/cc/ca.pem",
	}
	if got := cfg.InternalTenant.Of.(*openstackTenant).keystone(); !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	if b := cfg.Backends[0]; OfBackend(b).VolumeType() != "" || b.MaxWaiting != 0 {
		t.Errorf("image-volumes of a file backend are of type %q, %d may wait", OfBackend(b).VolumeType(), b.MaxWaiting)
	}
}

const small = `
[[image_source]]
name = "library"
kind = "directory"
path = "images"
[[backend]]
name = "local"
kind = "file"
path = "../volumes"
`

const glanceAPI = `
[[image_source]]
name = "glance"
kind = "glance"
auth_url = "https://keystone.example.org:5000"
user = "cache"
project = "cache"
password_file = "password"
[glance_api]
listen = ["tcp://0.0.0.0:9292"]
anonymous_public = true
cert_file = "cert.pem"
key_file = "key.pem"
`

func TestGlancesAPIFindsItsSource(t *testing.T) {
	cfg, err := All().Parse([]byte("state_dir = \"state\"\n"+small+glanceAPI), "/srv/cc/clonecache.toml")
	if err != nil {
		t.Fatal(err)
	}
	want := config.GlanceAPI{Listen: []config.Listen{{Network: "tcp", Address: "0.0.0.0:9292"}}, Source: "glance", AnonymousPublic: true, CertFile: "/srv/cc/cert.pem", KeyFile: "/srv/cc/key.pem"}
	if !reflect.DeepEqual(cfg.GlanceAPI, want) {
		t.Errorf("got  %+v\nwant %+v", cfg.GlanceAPI, want)
	}
	for name, change := range map[string][2]string{
		"no listener": {`listen = ["tcp://0.0.0.0:9292"]`, ""}, "a source that is none": {"[glance_api]", "[glance_api]\nsource = \"library\""},
	} {
		text := strings.Replace(small+glanceAPI, change[0], change[1], 1)
		if _, err := All().Parse([]byte("state_dir = \"state\"\n"+text), "/srv/cc/clonecache.toml"); err == nil || !strings.Contains(err.Error(), "glance_api.") {
			t.Errorf("%s: got %v, want a problem", name, err)
		}
	}
	open := strings.NewReplacer("cert_file = \"cert.pem\"", "", "key_file = \"key.pem\"", "").Replace(small + glanceAPI)
	cfg, err = All().Parse([]byte("state_dir = \"state\"\n"+open), "/srv/cc/clonecache.toml")
	if err != nil || !strings.Contains(fmt.Sprint(cfg.Warnings), "unencrypted") {
		t.Errorf("without a certificate: %v, warnings %v", err, cfg.Warnings)
	}
}

func TestRelativePathsStartAtTheFile(t *testing.T) {
	cfg, err := All().Parse([]byte("state_dir = \"state\"\nlisten = [\"unix://run/c.sock\"]\n"+small), "/srv/cc/clonecache.toml")
	if err != nil {
		t.Fatal(err)
	}
	got := []string{string(cfg.StateDir), string(cfg.ScratchDir), cfg.Listen[0].Address, string(cfg.ImageSources[0].Of.(*directorySource).Path), string(cfg.Backends[0].Of.(*fileBackend).Path)}
	want := []string{"/srv/cc/state", "/srv/cc/state/scratch", "/srv/cc/run/c.sock", "/srv/cc/images", "/srv/volumes"}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if len(cfg.Warnings) != 2 {
		t.Errorf("got warnings %v, want one for the missing bound and one for the missing fallback", cfg.Warnings)
	}
}

func TestLinkedDirectoriesAreOne(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "volumes"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("volumes", filepath.Join(dir, "images")); err != nil {
		t.Fatal(err)
	}
	text := strings.Replace(small, "../volumes", "volumes", 1)
	_, err := All().Parse([]byte("state_dir = \"state\"\n"+text), filepath.Join(dir, "c.toml"))
	if err == nil || !strings.Contains(err.Error(), "is image_source[0].path too") {
		t.Errorf("got %v, want a problem with overlapping directories", err)
	}
}

// TestEveryKeyIsDocumented compares the keys of the types with the rows of docs/configuration.md, both
// ways. A row starts with "| `key` |"; the heading above it names the table.
func TestEveryKeyIsDocumented(t *testing.T) {
	text, err := os.ReadFile("../../../docs/configuration.md")
	if err != nil {
		t.Fatal(err)
	}
	documented := documentedKeys(string(text))
	known := make(map[string]bool)
	keysOf(reflect.TypeFor[config.Config](), "", known)
	r := All().Config()
	for table, kinds := range map[string]config.Kinds{"backend": r.Backends, "image_source": r.Sources, "internal_tenant": r.Tenants} {
		for _, kind := range kinds.Of {
			keysOf(reflect.TypeOf(kind.New()).Elem(), table, known)
		}
	}
	for key := range known {
		if !documented[key] {
			t.Errorf("docs/configuration.md does not document %s", key)
		}
	}
	for key := range documented {
		if !known[key] {
			t.Errorf("docs/configuration.md documents %s, which is no key", key)
		}
	}
}

func joined(table, key string) string { return strings.TrimPrefix(table+"."+key, ".") }

func documentedKeys(text string) map[string]bool {
	heading := regexp.MustCompile("^#+ .*`\\[+([a-z_.]+)\\]+`")
	row := regexp.MustCompile("^\\| `([a-z_]+)` \\|")
	keys, table := make(map[string]bool), ""
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "#") {
			table = ""
		}
		if m := heading.FindStringSubmatch(line); m != nil {
			table = m[1]
		}
		if m := row.FindStringSubmatch(line); m != nil {
			keys[joined(table, m[1])] = true
		}
	}
	return keys
}

func keysOf(typ reflect.Type, at string, keys map[string]bool) {
	for i := range typ.NumField() {
		field := typ.Field(i)
		if field.Anonymous {
			keysOf(field.Type, at, keys)
			continue
		}
		key, fieldType := field.Tag.Get("toml"), field.Type
		if key == "" || key == "-" {
			continue
		}
		if fieldType.Kind() == reflect.Slice && fieldType.Elem() != reflect.TypeFor[config.Listen]() {
			fieldType = fieldType.Elem()
		}
		if fieldType.Kind() == reflect.Struct {
			keysOf(fieldType, joined(at, key), keys)
			continue
		}
		keys[joined(at, key)] = true
	}
}

func FuzzConfig(f *testing.F) {
	files, err := filepath.Glob("testdata/*.toml")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		cfg, err := All().Parse(text, "/nowhere/clonecache.toml")
		if err != nil {
			if strings.TrimSpace(err.Error()) == "" {
				t.Error("an error without a text")
			}
			return
		}
		if len(cfg.Backends) == 0 || len(cfg.ImageSources) == 0 || len(cfg.Listen) == 0 || !filepath.IsAbs(string(cfg.StateDir)) {
			t.Errorf("accepted, but not usable: %+v", cfg)
		}
	})
}

func TestASocketsPathIsAsLongAsTheDaemonTakes(t *testing.T) {
	for length, ok := range map[int]bool{api.LongestSocket: true, api.LongestSocket + 1: false} {
		path := "/" + strings.Repeat("s", length-1)
		_, err := All().Parse([]byte("state_dir = \"state\"\nlisten = [\"unix://"+path+"\"]\n"+small), "/srv/cc/clonecache.toml")
		if (err == nil) != ok {
			t.Errorf("a path of %d bytes: got %v, want that it is taken: %t", length, err, ok)
		}
	}
}
