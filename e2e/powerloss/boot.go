package powerloss

import (
	"errors"
	"fmt"
	"os"

	"github.com/google/uuid"
	"golang.org/x/sys/unix"
)

// bootID is where Linux names the running boot. In the tests' mount namespace a file of theirs lies over
// it, so that what opens a booted disk sees that the host was restarted.
const bootID = "/proc/sys/kernel/random/boot_id"

// memory is where files lie in memory.
const memory = "/dev/shm"

// alone runs the tests in the mount namespace that is theirs: with temporary files in a memory of their
// own, which goes with the namespace, and with a boot ID that NewBoot can change.
func alone(run func() int) int {
	if _, err := os.Stat(memory); err == nil {
		err = errors.Join(unix.Mount("tmpfs", memory, "tmpfs", 0, ""), os.Setenv("TMPDIR", memory))
		if err != nil {
			fmt.Fprintln(os.Stderr, "memory for the tests:", err)
			return 2
		}
	}
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
	return run()
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
