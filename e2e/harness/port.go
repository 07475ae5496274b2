package harness

import (
	"net"
	"os"
	"strconv"
	"sync/atomic"
	"testing"
)

// ports counts those that this process has tried.
var ports atomic.Int64

// FreePort is a port of the loopback at which nobody listens. The kernel gives none of these out by itself (ip_local_port_range), so
// that it is still free when a program that is told of it listens there.
func FreePort(tb testing.TB) int {
	tb.Helper()
	const first, count, each = 10_000, 10_000, 16 // processes whose numbers are neighbours begin that far apart
	for range count {
		port := first + (os.Getpid()*each+int(ports.Add(1)))%count
		l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		if err != nil {
			continue
		}
		if err := l.Close(); err != nil {
			tb.Fatal(err)
		}
		return port
	}
	tb.Fatal("no port is free")
	return 0
}

// FreePorts is the first of n neighbouring ports of the loopback at which nobody listens, as a cluster takes them. The kernel gives none
// of these out by itself, nor does FreePort. Where no such block is free, whoever listens at the first one is told of that.
func FreePorts(n int) int {
	const first, last = 20_000, 32_000
	blocks := (last - first) / n
	for i := range blocks {
		if port := first + (os.Getpid()+i)%blocks*n; allFree(port, n) {
			return port
		}
	}
	return first
}

func allFree(port, n int) bool {
	for p := port; p < port+n; p++ {
		l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(p)))
		if err != nil {
			return false
		}
		_ = l.Close()
	}
	return true
}
