package keystone

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// fakeKeystone speaks Keystone's recorded answers: 401 with the same words whatever is wrong.
type fakeKeystone struct {
	*httptest.Server

	mu       sync.Mutex
	password string
	roles    map[string][]string // of the user, by project name
	catalog  string
	valid    time.Duration
	status   int // answered to every authentication; 0: as it should be
	logins   int
}

const refusedBody = `{"error":{"code":401,"message":"The request you have made requires authentication.","title":"Unauthorized"}}`

func newFake(t *testing.T) *fakeKeystone {
	t.Helper()
	f := &fakeKeystone{password: "secret", roles: map[string][]string{"cache": {"member", "reader"}}, valid: time.Hour}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v3/auth/tokens", f.login)
	mux.HandleFunc("GET /v3/auth/projects", f.projects)
	f.Server = httptest.NewServer(mux)
	t.Cleanup(f.Close)
	f.catalog = fmt.Sprintf(`[
		{"type":"volumev3","endpoints":[{"interface":"public","region":"lab","region_id":"lab","url":"%[1]s/v3/p-cache"},
			{"interface":"internal","region":"lab","region_id":"lab","url":"http://inside/v3/p-cache/"}]},
		{"type":"image","endpoints":[{"interface":"public","region":"other","region_id":"other","url":"http://elsewhere"},
			{"interface":"public","region":"lab","region_id":"lab","url":"%[1]s"}]}]`, f.URL)
	return f
}

func (f *fakeKeystone) login(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.logins++
	if f.status != 0 {
		w.WriteHeader(f.status)
		return
	}
	var body struct {
		Auth struct {
			Identity struct {
				Password struct {
					User struct{ Name, ID, Password string }
				}
				AppCred struct{ ID, Secret string } `json:"application_credential"`
			}
			Scope struct {
				Project struct{ Name, ID string }
			}
		}
	}
	if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	user, project := body.Auth.Identity.Password.User, body.Auth.Scope.Project.Name
	known := (user.Name == "owner" || user.ID == "u-owner") && user.Password == f.password
	if body.Auth.Identity.AppCred.ID == "app" && body.Auth.Identity.AppCred.Secret == f.password {
		known, project = true, "cache"
	}
	roles, member := f.roles[project]
	if !known || project != "" && !member {
		w.WriteHeader(http.StatusUnauthorized)
		fmt.Fprint(w, refusedBody)
		return
	}
	w.Header().Set("X-Subject-Token", fmt.Sprintf("token-%d", f.logins))
	w.WriteHeader(http.StatusCreated)
	f.answer(w, project, roles)
}

func (f *fakeKeystone) answer(w http.ResponseWriter, project string, roles []string) {
	token := map[string]any{
		"expires_at": time.Now().Add(f.valid).UTC().Format("2006-01-02T15:04:05.000000Z"),
		"user":       map[string]any{"id": "u-owner", "name": "owner"},
	}
	if project != "" {
		var list []map[string]string
		for _, r := range roles {
			list = append(list, map[string]string{"name": r})
		}
		token["project"] = map[string]any{"id": "p-" + project, "name": project}
		token["roles"], token["catalog"] = list, json.RawMessage(f.catalog)
	}
	_ = json.NewEncoder(w).Encode(map[string]any{"token": token})
}

func (f *fakeKeystone) projects(w http.ResponseWriter, _ *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var list []map[string]string
	for name := range f.roles {
		list = append(list, map[string]string{"name": name})
	}
	_ = json.NewEncoder(w).Encode(map[string]any{"projects": list})
}

func (f *fakeKeystone) count() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.logins
}

// secretFile writes a secret as people do, with a line break behind it.
func secretFile(t *testing.T, secret string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(file, []byte(secret+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func (f *fakeKeystone) config(t *testing.T) Config {
	return Config{AuthURL: f.URL, User: "owner", Project: "cache", PasswordFile: secretFile(t, "secret"), Timeout: 5 * time.Second}
}

func open(t *testing.T, c Config) *Account {
	t.Helper()
	a, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// wants checks that an error says each part, and no secret.
func wants(t *testing.T, err error, parts ...string) {
	t.Helper()
	if err == nil {
		t.Fatalf("no error, want one that says %q", parts)
	}
	for _, part := range parts {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("error %q does not say %q", err, part)
		}
	}
	if strings.Contains(err.Error(), "s3cr3t") {
		t.Errorf("error %q shows a secret", err)
	}
}
