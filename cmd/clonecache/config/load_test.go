package config

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/clonecache/clonecache/plugin/smallfile"
)

func TestLoadSaysWhatItCannotRead(t *testing.T) {
	if _, err := Load(filepath.Join(t.TempDir(), "none.toml"), Registry{}); err == nil || !strings.Contains(err.Error(), "none.toml") {
		t.Errorf("got %v, want an error that names the file", err)
	}
	big := filepath.Join(t.TempDir(), "big.toml")
	if err := os.WriteFile(big, bytes.Repeat([]byte("#"), smallfile.Most+1), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(big, Registry{}); err == nil || !strings.Contains(err.Error(), "longer than") {
		t.Errorf("got %v, want a refusal by size", err)
	}
}

func TestSecretFileCheck(t *testing.T) {
	write := func(text string, mode os.FileMode) SecretFile {
		file := filepath.Join(t.TempDir(), "secret")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(file, mode); err != nil {
			t.Fatal(err)
		}
		return SecretFile(file)
	}
	for _, c := range []struct {
		name string
		file SecretFile
		want string
	}{
		{"none", "", ""},
		{"good", write("0123456789abcdef", 0o640), ""},
		{"empty", write("", 0o600), "is empty"},
		{"readable by all", write("x", 0o644), "everybody"},
		{"missing", "/does/not/exist", "no such file"},
	} {
		err := c.file.Check()
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", c.name, err, c.want)
		}
	}
}
