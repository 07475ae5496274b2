package file_test

import (
	"os"
	"testing"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/backends/file"
)

func TestCopyWhereTheFilesystemCannotClone(t *testing.T) {
	ctx := t.Context()
	b, err := file.Open(ctx, file.Config{Name: "local", Path: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	st, err := b.Stage(ctx, backends.StageSpec{ID: "e-1", VirtualBytes: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := st.WriteAt([]byte("hello"), 4096); err != nil {
		t.Fatal(err)
	}
	if _, err := st.Commit(ctx, backends.Description{EntryID: "e"}); err != nil {
		t.Fatal(err)
	}
	f, _, err := b.OpenImage(ctx, "e-1")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	v, m, err := b.CopyFromFile(ctx, f, backends.VolumeSpec{Name: "v", SizeBytes: 2 << 20, Token: "t"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%s %+v", m, v)
	got, err := os.ReadFile(v.Path)
	if err != nil || len(got) != 2<<20 || string(got[4096:4101]) != "hello" {
		t.Errorf("read %d bytes, %v", len(got), err)
	}
}
