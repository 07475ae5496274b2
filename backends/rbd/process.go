//go:build ceph

package rbd

import (
	"errors"
	"io/fs"
	"os"
	"strconv"
	"strings"
)

// process is the process that a client of the cluster was, so that it is known to be gone once it is. Zero:
// not known.
type process struct {
	Boot      string `json:"boot,omitempty"`      // of the kernel: /proc/sys/kernel/random/boot_id
	Namespace string `json:"namespace,omitempty"` // of process numbers, as /proc/self/ns/pid names it
	PID       int    `json:"pid,omitempty"`
	Started   string `json:"started,omitempty"` // clock ticks after the boot, since numbers are used again
}

// thisProcess describes the caller; zero where /proc does not tell.
func thisProcess() process {
	p := process{PID: os.Getpid()}
	var err error
	if p.Boot, p.Namespace, err = here(); err != nil {
		return process{}
	}
	if p.Started, err = started(p.PID); err != nil {
		return process{}
	}
	return p
}

// gone tells whether the process has certainly ended: it was of this boot and of these process numbers, and its
// number is free or another's now.
func (p process) gone() bool {
	boot, namespace, err := here()
	if err != nil || p.PID == 0 || p.Boot != boot || p.Namespace != namespace {
		return false
	}
	now, err := started(p.PID)
	return errors.Is(err, fs.ErrNotExist) || err == nil && now != p.Started
}

// here is where process numbers mean something.
func here() (boot, namespace string, err error) {
	text, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", "", err
	}
	namespace, err = os.Readlink("/proc/self/ns/pid")
	return strings.TrimSpace(string(text)), namespace, err
}

// started is when a process began: field 22 of /proc/PID/stat, see proc(5). fs.ErrNotExist: there is none.
func started(pid int) (string, error) {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return "", err
	}
	const after = 22 - 3 // fields behind the name, which may hold spaces and brackets
	fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	if len(fields) <= after {
		return "", errors.New("/proc/PID/stat is too short")
	}
	if fields[0] == "Z" { // it has ended, and its parent has not noticed
		return "", fs.ErrNotExist
	}
	return fields[after], nil
}
