package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// What a person gets wrong on the command line is one sentence that says what helps, and a documented exit code.
func TestWrongArgumentsAreOneSentence(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, []byte("short"), 0o600); err != nil {
		t.Fatal(err)
	}
	const web = "http://127.0.0.1:1"
	for _, c := range []struct {
		name string
		args []string
		exit int
		says string
	}{
		{"an empty image", []string{"volume", "create", "", "--name", "v"}, exitUsage, "IMAGE is empty: give one"},
		{"an empty volume", []string{"volume", "delete", "a", ""}, exitUsage, "NAME is empty: give one"},
		{"an empty entry", []string{"entry", "show", ""}, exitUsage, "ID is empty: give one"},
		{"an empty entry to delete", []string{"entry", "delete", ""}, exitUsage, "ID is empty: give one"},
		{"an empty entry to read again", []string{"entry", "revalidate", ""}, exitUsage, "ID is empty: give one"},
		{"an empty file", []string{"image", "inspect", ""}, exitUsage, "FILE is empty: give one"},
		{"an empty configuration", []string{"config", "check", ""}, exitUsage, "FILE is empty: give one"},
		{"an empty backend", []string{"backend", "take-over", ""}, exitUsage, "NAME is empty: give one"},
		{"no place", []string{"loan", "end", "lvm", "ctl1"}, exitUsage, "ctl1 is no place: it is HOST@BACKEND or"},
		{"half a place", []string{"loan", "end", "lvm", "ctl1@"}, exitUsage, "ctl1@ is no place"},
		{"no such state", []string{"entry", "list", "--state", "x"}, exitUsage, "use filling or ready or"},
		{"a directory as an image", []string{"image", "inspect", dir}, exitUsage, "name the file that holds the image"},
		{"a device as an image", []string{"image", "inspect", "/dev/zero"}, exitUsage, "name the file that holds the image"},
		{"no configuration", []string{"config", "check", filepath.Join(dir, "none")}, exitNotFound, "no such file"},
		{"a directory as a configuration", []string{"config", "check", dir}, exitUsage, "is a directory: name a file"},
		{"a device as a configuration", []string{"config", "check", "/dev/zero"}, exitUsage, "is a device: name a file"},
		{"serve without one", []string{"serve", "--config", filepath.Join(dir, "none")}, exitUsage, "name another one with --config"},
		{"serve with a directory", []string{"serve", "--config", dir}, exitUsage, "is a directory: name a file"},
		{"take-over without one", []string{"backend", "take-over", "b", "--config", filepath.Join(dir, "none")}, exitUsage, "name another one with --config"},
		{"take-over with a device", []string{"backend", "take-over", "b", "--config", "/dev/zero"}, exitUsage, "is a device: name a file"},
		{"no token", []string{"status", "--server", web, "--token-file", filepath.Join(dir, "none")}, exitUsage, "no such file"},
		{"a directory as a token", []string{"status", "--server", web, "--token-file", dir}, exitUsage, "is a directory: name a file"},
		{"a device as a token", []string{"status", "--server", web, "--token-file", "/dev/zero"}, exitUsage, "is a device: name a file"},
		{"a short token", []string{"status", "--server", web, "--token-file", file}, exitUsage, "write the token into it"},
		{"a device as certificates", []string{"status", "--server", web, "--ca-file", "/dev/zero"}, exitUsage, "is a device: name a file"},
		{"no certificates", []string{"status", "--server", web, "--ca-file", file}, exitUsage, "name the file with the authority's"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var out, errOut strings.Builder
			exit := Run(t.Context(), testEnv(&out, &errOut), c.args)
			if exit != c.exit || !strings.Contains(errOut.String(), c.says) || strings.Count(errOut.String(), "\n") != 1 || out.Len() > 0 {
				t.Errorf("got exit code %d, %q, %q; want %d and %q", exit, errOut.String(), out.String(), c.exit, c.says)
			}
		})
	}
}
