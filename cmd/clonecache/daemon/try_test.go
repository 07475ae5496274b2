package daemon

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sirupsen/logrus/hooks/test"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/cmd/clonecache/config"
	"github.com/clonecache/clonecache/plugin"
	"github.com/clonecache/clonecache/plugin/api"
)

// A catalog whose server does not answer is found before anything is started.
func TestTryAsksTheCatalogsServer(t *testing.T) {
	cfg, dir := parse(t, one)
	cfg.Catalog.URL = "mysql://clonecache@127.0.0.1:1/clonecache" // nothing listens at port 1
	secret := filepath.Join(dir, "password")
	if err := os.WriteFile(secret, []byte("secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg.Catalog.PasswordFile = config.SecretFile(secret)
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second) // the server is asked again and again
	defer cancel()
	problems := Try(ctx, cfg).Problems
	if at := slices.IndexFunc(problems, func(p config.Problem) bool { return p.Key == "catalog.url" }); at < 0 || problems[at].Remedy == "" || !strings.Contains(problems[at].What, "refused") {
		t.Errorf("got problems %v, want that the catalog's server does not answer", problems)
	}
	cfg.Catalog.PasswordFile = config.SecretFile(filepath.Join(dir, "absent"))
	if problems := Try(t.Context(), cfg).Problems; !slices.ContainsFunc(problems, func(p config.Problem) bool { return p.Key == "catalog.password_file" }) {
		t.Errorf("got problems %v, want that there is no password", problems)
	}
}

// What "config check" finds, serve meets, in the same words: the store whose filesystem is not mounted, and a
// directory of images that is missing, keep nobody from the others; a port that is taken keeps it from starting.
func TestCheckAndServeSayTheSame(t *testing.T) {
	cfg, dir := parse(t, one+"[[backend]]\nname = \"other\"\nkind = \"file\"\npath = \"other\"\n")
	first := run(t, cfg) // notes which stores these are
	first.stop()
	if err := <-first.ended; err != nil {
		t.Fatal(err)
	}
	first.ended <- nil
	if err := os.RemoveAll(filepath.Join(dir, "volumes")); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "volumes"), 0o755); err != nil { // as where nothing is mounted
		t.Fatal(err)
	}
	problems := Try(t.Context(), cfg).Problems
	if len(problems) != 2 || problems[0].Key != "backend[0].path" || problems[1].Key != "image_source[0].path" {
		t.Fatalf("got problems %v", problems)
	}
	d := run(t, cfg)
	views, err := d.Backends(t.Context())
	if err != nil || views[0].Available || !strings.Contains(views[0].Error, problems[0].What) || !views[1].Available {
		t.Errorf("got %+v, %v; want %q", views, err, problems[0].What)
	}
	wantLogged(t, d.log, "is down", problems[0].Remedy)
	wantLogged(t, d.log, problems[1].What, problems[1].Remedy)
}

func TestTryFindsAPortThatIsTaken(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	cfg, dir := parse(t, "insecure_loopback = true\n"+strings.Replace(one, "unix://s", "tcp://"+l.Addr().String(), 1))
	if err := os.Mkdir(filepath.Join(dir, "images"), 0o755); err != nil {
		t.Fatal(err)
	}
	problems := Try(t.Context(), cfg).Problems
	if len(problems) != 1 || problems[0].Key != "listen[0]" || !strings.Contains(problems[0].What, l.Addr().String()) {
		t.Errorf("got problems %v, want the port", problems)
	}
	log, _ := test.NewNullLogger()
	if err := Run(t.Context(), cfg, Options{Log: log}); !errors.Is(err, api.ErrListening) {
		t.Errorf("serve: got %v, want %v", err, api.ErrListening)
	}
}

func TestTryFindsWhatIsGood(t *testing.T) {
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/v3/" {
			_, _ = w.Write([]byte(`{"version": {"id": "v3.14"}}`))
			return
		}
		http.NotFound(w, r)
	}))
	defer web.Close()
	cfg, dir := parse(t, one+"[[file_cache]]\nname = \"files\"\npath = \"files\"\n[[image_source]]\nname = \"web\"\nkind = \"http\"\nurl = \""+web.URL+"/images\"\n"+ofKeystone(web.URL))
	if err := os.Mkdir(filepath.Join(dir, "images"), 0o755); err != nil {
		t.Fatal(err)
	}
	trial := Try(t.Context(), cfg)
	if len(trial.Problems) > 0 {
		t.Errorf("got problems %v, want none", trial.Problems)
	}
	facts := strings.Join(trial.Facts, "\n")
	for _, part := range []string{"backend local: ", "reflinks", "file cache files: ", "has 0 files", "answers (404", "Keystone at " + web.URL + " answers"} {
		if !strings.Contains(facts, part) {
			t.Errorf("facts do not say %q:\n%s", part, facts)
		}
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 1 {
		t.Errorf("got %v, %v: want nothing left beside images", left, err)
	}
}

// ofKeystone is the table that lets in whom the Keystone at a URL knows.
func ofKeystone(url string) string {
	return "[api.keystone]\nauth_url = \"" + url + "\"\nroles = { admin = \"admin\" }\n"
}

func TestTryFindsWhatIsWrong(t *testing.T) {
	dead := httptest.NewServer(http.NotFoundHandler())
	dead.Close()
	cfg, dir := parse(t, strings.Replace(one, "[[image", "socket_group = \"no-such-group\"\ntoken_file = \"token\"\n[tls]\ncert_file = \"cert\"\nkey_file = \"key\"\n[[image", 1)+
		"[[image_source]]\nname = \"web\"\nkind = \"http\"\nurl = \""+dead.URL+"\"\n"+ofKeystone(dead.URL))
	for name, mode := range map[string]os.FileMode{"volumes": 0o600, "token": 0o644, "cert": 0o644, "key": 0o600} {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, []byte("no directory, no PEM"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(file, mode); err != nil {
			t.Fatal(err)
		}
	}
	var keys []string
	for _, p := range Try(t.Context(), cfg).Problems {
		keys = append(keys, p.Key)
	}
	want := []string{"socket_group", "token_file", "tls", "api.keystone", "backend[0].path", "image_source[0].path", "image_source[1].url"}
	if !slices.Equal(keys, want) {
		t.Errorf("got problems with %q, want %q", keys, want)
	}
}

// What a start refuses of who may come, and of Glance's API, is found before.
func TestTryFindsWhatAStartRefuses(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	const glance = "[[image_source]]\nname = \"g\"\nkind = \"glance\"\nauth_url = \"http://127.0.0.1:1/v3\"\nuser = \"u\"\nproject = \"p\"\npassword_file = \"secret\"\n[glance_api]\nlisten = [\""
	for name, test := range map[string]struct{ more, want string }{
		"its port is taken":         {glance + "tcp://" + taken.Addr().String() + "\"]\n", "glance_api.listen[0]"},
		"its certificate is none":   {glance + "tcp://127.0.0.1:0\"]\ncert_file = \"secret\"\nkey_file = \"secret\"\n", "glance_api"},
		"its key is not there":      {glance + "tcp://127.0.0.1:0\"]\ncert_file = \"secret\"\nkey_file = \"absent\"\n", "glance_api.key_file"},
		"an authority that is none": {"[tls]\ncert_file = \"secret\"\nkey_file = \"secret\"\nclient_ca_file = \"secret\"\n", "tls.client_ca_file"},
		"a webhook's secret":        {"[[webhook]]\nname = \"w\"\nurl = \"https://127.0.0.1:1\"\nsecret_file = \"blank\"\n", "webhook[0].secret_file"},
	} {
		t.Run(name, func(t *testing.T) {
			cfg, dir := parse(t, one+test.more)
			for file, text := range map[string]string{"secret": "no PEM, and a secret", "blank": " \n"} {
				if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			problems := Try(t.Context(), cfg).Problems
			if !slices.ContainsFunc(problems, func(p config.Problem) bool { return p.Key == test.want }) {
				t.Errorf("got problems %v, want one with %s", problems, test.want)
			}
		})
	}
}

func TestTrySeesADaemonThatRuns(t *testing.T) {
	cfg, dir := parse(t, one)
	l, err := net.Listen("unix", filepath.Join(dir, "s"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if problems := Try(t.Context(), cfg).Problems; len(problems) == 0 || problems[0].Key != "listen[0]" {
		t.Errorf("of something else that listens: got problems %v", problems)
	}
	lock, err := plugin.LockState(string(cfg.StateDir))
	if err != nil {
		t.Fatal(err)
	}
	if facts := strings.Join(Try(t.Context(), cfg).Facts, "\n"); !strings.Contains(facts, "listens") {
		t.Errorf("facts do not say that a daemon listens:\n%s", facts)
	}
	if err := lock.Unlock(); err != nil {
		t.Fatal(err)
	}
}

// What keeps serve from a store that is another installation's is found without starting anything.
func TestCheckFindsAStoreOfAnotherInstallation(t *testing.T) {
	cfg, dir := parse(t, one)
	if err := os.Mkdir(filepath.Join(dir, "images"), 0o755); err != nil {
		t.Fatal(err)
	}
	first := run(t, cfg)
	other := cfg
	other.StateDir, other.ScratchDir = config.Path(filepath.Join(dir, "other")), config.Path(filepath.Join(dir, "other", "scratch"))
	other.Listen = []config.Listen{{Network: "unix", Address: filepath.Join(dir, "o")}}
	if got := Try(t.Context(), cfg).Problems; len(got) > 0 {
		t.Errorf("its own, while it runs: got %v", got)
	}
	if got := Try(t.Context(), other).Problems; len(got) != 1 || got[0].Key != "backend[0].path" || !strings.Contains(got[0].What, "another clonecache uses") {
		t.Errorf("another one's, while that runs: got %v", got)
	}
	first.stop()
	if err := <-first.ended; err != nil {
		t.Fatal(err)
	}
	first.ended <- nil
	if got := Try(t.Context(), cfg).Problems; len(got) > 0 {
		t.Errorf("its own: got %v", got)
	}
	if got := Try(t.Context(), other).Problems; len(got) != 1 || !strings.Contains(got[0].Remedy, "take-over local") {
		t.Errorf("another one's: got %v", got)
	}
	log, _ := test.NewNullLogger()
	if err := Run(t.Context(), other, Options{Log: log}); !errors.Is(err, backends.ErrHeld) {
		t.Errorf("serve: got %v, want %v", err, backends.ErrHeld)
	}
}

// A user that does not exist is found before anything is started, and keeps that backend alone down.
func TestTryFindsAnOwnerThatDoesNotExist(t *testing.T) {
	cfg, dir := parse(t, one+"volume_owner = \"no-such-user\"\n")
	if err := os.Mkdir(filepath.Join(dir, "images"), 0o755); err != nil {
		t.Fatal(err)
	}
	problems := Try(t.Context(), cfg).Problems
	if len(problems) != 1 || problems[0].Key != "backend[0].volume_owner" || !strings.Contains(problems[0].What, "no-such-user") {
		t.Errorf("got problems %v", problems)
	}
	d := run(t, cfg)
	views, err := d.Backends(t.Context())
	if err != nil || views[0].Available || !strings.Contains(views[0].Error, "no-such-user") {
		t.Errorf("got %+v, %v", views, err)
	}
	wantLogged(t, d.log, "is down", problems[0].Remedy)
}
