//go:build openstack

package openstack

import (
	"cmp"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// BenchmarkProcessor measures what fifty hits at once take of the processors, by process, in milliseconds a volume: the medians of
// five bursts. Other work on the machine changes that little, while it may halve how many volumes are made in a second.
//
//	go test -run '^$' -bench Processor -benchtime 1x -tags ceph,pacific,openstack ./e2e/openstack
func BenchmarkProcessor(b *testing.B) {
	if b.N > 1 {
		b.Skip("one run is all there is to it: -benchtime 1x")
	}
	const bursts, volumes = 5, 50
	w := begin(b)
	defer w.daemon.Stop(b)
	defer w.end(b)
	hit := wanted{Image: w.cachedImage(b, func(string) {}), Type: "rbd1"}
	figures := make(map[string][]float64)
	for range bursts {
		before := w.processor(b)
		ids, _ := w.timedAll(b, volumes, hit)
		all := time.Duration(0)
		for name, used := range w.processor(b) {
			used -= before[name]
			all += used
			figures[name] = append(figures[name], used.Seconds()*1000/volumes)
		}
		figures["all"] = append(figures["all"], all.Seconds()*1000/volumes)
		w.deleteAll(b, ids, 8)
	}
	b.ReportMetric(0, "ns/op")
	for _, name := range slices.Sorted(maps.Keys(figures)) {
		if ms := median(slices.Clone(figures[name])); ms >= 0.5 {
			b.ReportMetric(ms, name+"-ms/volume")
		}
	}
}

// processor is what each of the lab's services, the daemon and the test itself have used of the processors.
func (w *world) processor(tb testing.TB) map[string]time.Duration {
	tb.Helper()
	sessions := make(map[string]string) // of services, by the ID of their session
	files, err := filepath.Glob(filepath.Join(lab.dir, "run", "*.pid"))
	if err != nil {
		tb.Fatal(err)
	}
	for _, file := range files {
		pid, err := os.ReadFile(file)
		if err != nil {
			tb.Fatal(err)
		}
		sessions[strings.TrimSpace(string(pid))] = strings.TrimSuffix(filepath.Base(file), ".pid")
	}
	others := map[string]string{strconv.Itoa(os.Getpid()): "test", strconv.Itoa(w.daemon.PID()): "daemon"}
	processes, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		tb.Fatal(err)
	}
	used := make(map[string]time.Duration)
	for _, process := range processes {
		stat, err := os.ReadFile(filepath.Join(process, "stat"))
		if err != nil {
			continue // it has ended
		}
		// What stands before the last parenthesis is the program's name; proc(5) counts session as field 6, utime and stime as 14 and 15.
		fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
		name := cmp.Or(others[filepath.Base(process)], sessions[fields[3]], cephProcess(process))
		if name == "" {
			continue
		}
		for _, field := range fields[11:13] {
			ticks, err := strconv.ParseInt(field, 10, 64)
			if err != nil {
				tb.Fatal(err)
			}
			used[name] += time.Duration(ticks) * time.Second / 100 // USER_HZ, whatever the kernel's own clock
		}
	}
	return used
}

// cephProcess is the name of a process of the lab's Ceph cluster; "" of others.
func cephProcess(process string) string {
	command, err := os.ReadFile(filepath.Join(process, "cmdline"))
	if err != nil || !strings.Contains(string(command), lab.cephConf()) {
		return ""
	}
	name, _, _ := strings.Cut(filepath.Base(strings.Split(string(command), "\x00")[0]), " ")
	if !strings.HasPrefix(name, "ceph-") {
		return ""
	}
	return name
}
