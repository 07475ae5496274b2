//go:build openstack

package peers

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
)

// python is the interpreter that Debian's Cinder runs on.
const python = "/usr/bin/python3"

// source is where Cinder lies: Debian's, or a checkout of another release, on the libraries of Debian's.
var source = cmp.Or(os.Getenv("CINDER_SOURCE"), "/usr/lib/python3/dist-packages")

// drivers are the suites of the drivers that ours are made of, managers those of what calls them.
var (
	drivers = []string{
		"cinder.tests.unit.volume.drivers.test_rbd",
		"cinder.tests.unit.volume.drivers.test_nfs",
		"cinder.tests.unit.volume.drivers.test_remotefs",
		"cinder.tests.compliance.test_volume_drivers",
	}
	managers = []string{
		"cinder.tests.unit.volume.flows.test_create_volume_flow",
		"cinder.tests.unit.volume.flows.test_manage_volume_flow",
		"cinder.tests.unit.volume.test_image",
		"cinder.tests.unit.volume.test_volume",
		"cinder.tests.unit.volume.test_volume_manager",
		"cinder.tests.unit.volume.test_driver",
		"cinder.tests.unit.volume.test_init_host",
		"cinder.tests.unit.volume.test_connection",
		"cinder.tests.unit.volume.test_snapshot",
		"cinder.tests.unit.volume.test_volume_reimage",
		"cinder.tests.unit.test_volume_cleanup",
	}
)

// outcome is what one test came to.
type outcome struct {
	Test   string
	CameTo string `json:"came_to"`
	Why    string
}

// results are one run of suites.
type results struct {
	tests   map[string]outcome
	Drivers int // of ours, that tests made
	Asked   int // how often the hook was asked for a volume
}

// Cinder's own tests of its drivers come to the same with ours.
func TestCindersTestsOfItsDrivers(t *testing.T) { compare(t, drivers, 450) }

// Cinder's own tests of its volume manager come to the same with the hook before its driver.
func TestCindersTestsOfItsVolumeManager(t *testing.T) { compare(t, managers, 400) }

// compare runs suites of at least that many tests on both. What comes to different ends is run once more: some of Cinder's tests
// fail now and then by themselves.
func compare(t *testing.T, suites []string, atLeast int) {
	stock, ours := runBoth(t, suites)
	if differ := differing(stock, ours); len(differ) > 0 {
		t.Logf("once more: %q", differ)
		stockAgain, oursAgain := runBoth(t, differ)
		for _, name := range differ {
			if theirs, mine := stockAgain.tests[name], oursAgain.tests[name]; theirs.Test != "" && mine.Test != "" {
				stock.tests[name], ours.tests[name] = theirs, mine
			}
		}
	}
	passed := 0
	for name, theirs := range stock.tests {
		mine, ran := ours.tests[name]
		switch {
		case !ran:
			t.Errorf("%s: %s with Cinder's driver, did not run with ours", name, theirs.CameTo)
		case mine.CameTo != theirs.CameTo:
			t.Errorf("%s: %s with Cinder's driver, %s with ours\n%s", name, theirs.CameTo, mine.CameTo, mine.Why)
		}
		if theirs.CameTo == "passed" {
			passed++
		} else {
			t.Logf("%s: %s with both", name, theirs.CameTo)
		}
	}
	for name, mine := range ours.tests { // tests of every driver there is have some more
		if _, theirs := stock.tests[name]; !theirs && mine.CameTo != "passed" {
			t.Errorf("%s: %s with ours alone\n%s", name, mine.CameTo, mine.Why)
		}
	}
	if passed < atLeast || ours.Drivers == 0 || ours.Asked == 0 || stock.Drivers != 0 {
		t.Errorf("%d tests passed, want %d or more; %d of our drivers were made and asked %d times, want some",
			passed, atLeast, ours.Drivers, ours.Asked)
	}
	t.Logf("%d tests, %d passed; with ours %d tests, %d drivers, asked %d times",
		len(stock.tests), passed, len(ours.tests), ours.Drivers, ours.Asked)
}

// runBoth runs suites on the stock drivers and on ours.
func runBoth(t *testing.T, suites []string) (stock, ours results) {
	t.Helper()
	var both errgroup.Group
	both.Go(func() (err error) { stock, err = run(t, "stock", suites); return err })
	both.Go(func() (err error) { ours, err = run(t, "ours", suites); return err })
	if err := both.Wait(); err != nil {
		t.Fatal(err)
	}
	return stock, ours
}

// differing are the tests that ran on both and came to different ends.
func differing(stock, ours results) (names []string) {
	for name, theirs := range stock.tests {
		if mine, ran := ours.tests[name]; ran && mine.CameTo != theirs.CameTo {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// run runs suites on the stock drivers or on ours, and returns what each test came to.
func run(t *testing.T, which string, suites []string) (results, error) {
	script, err := filepath.Abs("run_peers.py")
	if err != nil {
		return results{}, err
	}
	hook, err := filepath.Abs("../../plugin/cinder")
	if err != nil {
		return results{}, err
	}
	lines, err := os.Create(filepath.Join(t.TempDir(), "lines"))
	if err != nil {
		return results{}, err
	}
	defer lines.Close()
	cmd := exec.CommandContext(t.Context(), python, append([]string{"-W", "ignore", script, which}, suites...)...)
	cmd.Dir = source // Cinder's test of all drivers looks for their code below the working directory
	cmd.Env = append(os.Environ(), "PYTHONPATH="+hook+":"+source, "PYTHONDONTWRITEBYTECODE=1", "TMPDIR="+t.TempDir())
	if os.Getenv("CINDER_SOURCE") != "" { // a checkout has no package's metadata, whence pbr would know its version
		cmd.Env = append(cmd.Env, "PBR_VERSION=99.0.0")
	}
	cmd.ExtraFiles = []*os.File{lines}
	cmd.WaitDelay = 10 * time.Second
	if out, err := cmd.CombinedOutput(); err != nil {
		return results{}, fmt.Errorf("%s: %w\n%s", which, err, out[max(0, len(out)-4000):])
	}
	text, err := os.ReadFile(lines.Name())
	if err != nil {
		return results{}, err
	}
	return read(text)
}

// read takes the lines of run_peers.py apart.
func read(text []byte) (results, error) {
	r := results{tests: make(map[string]outcome)}
	ended := false
	for lines := bufio.NewScanner(bytes.NewReader(text)); lines.Scan(); {
		var o outcome
		if err := json.Unmarshal(lines.Bytes(), &o); err != nil {
			return r, err
		}
		if o.Test != "" {
			r.tests[o.Test] = o
			continue
		}
		ended = true
		if err := json.Unmarshal(lines.Bytes(), &r); err != nil {
			return r, err
		}
	}
	if !ended {
		return r, errors.New("the tests did not run to their end")
	}
	return r, nil
}
