package page

import (
	"bytes"
	"fmt"
	"image/png"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"testing"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"

	"github.com/clonecache/clonecache/backends/backendtest/fstest"
	"github.com/clonecache/clonecache/e2e/harness"
)

// picturesVariable is the variable of the environment that names the directory in which pictures are left; without it they are
// made, looked at and thrown away. `make screenshots` sets it.
const picturesVariable = "CLONECACHE_PICTURES"

// picture is one of those that docs/admin-page.md shows.
type picture struct {
	file          string
	path          string // of the page
	scheme        string // light or dark
	width, height int64  // of the window, in CSS pixels
	shows         string // a script's expression
}

func pictures() []picture {
	table := `document.querySelectorAll("main tbody tr").length > 2`
	return []picture{
		{"overview-light.png", "/ui", "light", 1200, 900, `document.querySelectorAll("svg.plot").length == 2`},
		{"overview-dark.png", "/ui", "dark", 1200, 900, `document.querySelectorAll("svg.plot").length == 2`},
		{"entries-phone.png", "/ui/entries", "light", 390, 844, table},
		{"volume.png", "/ui/volume?backend=local&volume=web-1", "light", 1200, 700, `document.querySelector("#requests") != null`},
	}
}

// used is a daemon that was used for a while, by people who gave their images usual names.
func used(t *testing.T) served {
	t.Helper()
	address := fmt.Sprintf("127.0.0.1:%d", harness.FreePort(t))
	dir, fs := t.TempDir(), fstest.New(t, fstest.XFS, fstest.MinXFS)
	token := filepath.Join(dir, "operator")
	if err := os.WriteFile(token, []byte(operatorToken), 0o600); err != nil {
		t.Fatal(err)
	}
	tables := fmt.Sprintf("[[token]]\nfile = %q\nrole = \"operator\"\n[[image_source]]\nname = \"library\"\nkind = \"directory\"\npath = %q\n"+
		"[[backend]]\nname = \"local\"\nkind = \"file\"\npath = %q\nmax_size = \"64MiB\"\nmax_count = 10\n[internal_tenant]\nkind = \"local\"\nmax_volumes = 10\n",
		token, dir, filepath.Join(fs.Dir, "volumes"))
	names := []string{"debian-12-generic-amd64", "ubuntu-24.04-server-amd64", "rocky-9-generic-x86-64", "opensuse-leap-15.6"}
	for n, name := range names {
		harness.SmallDisk(t, filepath.Join(dir, name+".raw"), uint64(n), 16*harness.MiB, int64(n+4)*harness.MiB)
	}
	d := served{harness.Start(t, harness.Config{Listen: "tcp://" + address, Tables: tables}), "http://" + address, dir, nil}
	for n, image := range []int{0, 0, 1, 0, 2, 0, 1, 3, 0, 1, 0, 2} {
		if err := <-d.create(t, "library:"+names[image]+".raw", fmt.Sprintf("web-%d", n)); err != nil {
			t.Fatal(err)
		}
	}
	return d
}

// The pictures in the documents are made here, and show what they are to show. Of a browser's letters nothing is compared.
func TestThePicturesInTheDocuments(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: tests that run the daemon are left out")
	}
	dir := os.Getenv(picturesVariable)
	if dir == "" {
		dir = t.TempDir()
	}
	d := used(t)
	v := open(t, d.url)
	v.login(operatorToken)
	for _, p := range pictures() {
		v.draw(p, filepath.Join(dir, p.file))
	}
	v.clean()
}

// draw makes one picture.
func (v *visit) draw(p picture, file string) {
	v.t.Helper()
	v.run(chromedp.EmulateViewport(p.width, p.height), emulation.SetEmulatedMedia().WithFeatures([]*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: p.scheme}}))
	v.goTo(p.path)
	v.sees(p.file, p.shows)
	var drawn []byte
	v.run(chromedp.CaptureScreenshot(&drawn))
	const most = 150 << 10 // bytes
	image, err := png.Decode(bytes.NewReader(drawn))
	if err != nil || len(drawn) > most {
		v.t.Fatalf("%s: %d bytes, want at most %d; %v", p.file, len(drawn), most, err)
	}
	if size := image.Bounds().Size(); int64(size.X) != p.width || int64(size.Y) != p.height {
		v.t.Errorf("%s: got %v, want %d × %d", p.file, size, p.width, p.height)
	}
	if err := os.WriteFile(file, drawn, 0o644); err != nil {
		v.t.Fatal(err)
	}
}

// Each picture that the documents show is one that is made here, lies there, and is shown.
func TestThePicturesAreThoseOfTheDocuments(t *testing.T) {
	const docs = "../../docs"
	text, err := os.ReadFile(filepath.Join(docs, "admin-page.md"))
	if err != nil {
		t.Fatal(err)
	}
	var shown, made []string
	for _, link := range regexp.MustCompile(`!\[[^\]]+\]\(pictures/([^)]+)\)`).FindAllStringSubmatch(string(text), -1) {
		shown = append(shown, link[1])
	}
	for _, p := range pictures() {
		made = append(made, p.file)
	}
	files, err := filepath.Glob(filepath.Join(docs, "pictures", "*"))
	if err != nil {
		t.Fatal(err)
	}
	var there []string
	for _, file := range files {
		there = append(there, filepath.Base(file))
	}
	slices.Sort(shown)
	slices.Sort(made)
	if !slices.Equal(shown, made) || !slices.Equal(there, made) {
		t.Errorf("docs/admin-page.md shows %q, docs/pictures has %q, made are %q (make screenshots)", shown, there, made)
	}
}
