package powerloss

import (
	"fmt"
	"os"
	"testing"

	"github.com/google/uuid"
	"golang.org/x/sys/unix"
)

// bootID is where Linux names the running boot. In the tests' mount namespace a file of theirs lies over
// it, so that what opens a booted disk sees that the host was restarted.
const bootID = "/proc/sys/kernel/random/boot_id"

// asAnotherBoot runs the tests with a boot ID that NewBoot can change.
func asAnotherBoot(m *testing.M) int {
	own, err := os.CreateTemp("", "boot_id-")
	if err == nil {
		defer os.Remove(own.Name())
		_, err = own.WriteString(uuid.NewString() + "\n")
	}
	if err == nil {
		err = unix.Mount(own.Name(), bootID, "", unix.MS_BIND, "")
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "a boot ID for the tests:", err)
		return 2
	}
	return m.Run()
}

// NewBoot changes the boot ID, for all that run in this process.
func NewBoot() error {
	f, err := os.OpenFile(bootID, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = f.WriteAt([]byte(uuid.NewString()), 0) // always as long
	return err
}
