package imagesource

import "sync"

// memory keeps what was learnt lately, by key: at most so many things, or the newest alone where it is larger than that;
// where there are more, all others are forgotten, and learnt again when needed. It may be used from several
// goroutines.
type memory[K comparable, V any] struct {
	most int
	size func(V) int // as how many things one counts
	mu   sync.Mutex
	kept map[K]V
	held int
}

func newMemory[K comparable, V any](most int) *memory[K, V] {
	return newSizedMemory[K](most, func(V) int { return 1 })
}

func newSizedMemory[K comparable, V any](most int, size func(V) int) *memory[K, V] {
	return &memory[K, V]{most: most, size: size, kept: make(map[K]V)}
}

// get returns the zero value where nothing is kept under k.
func (m *memory[K, V]) get(k K) (V, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	v, known := m.kept[k]
	return v, known
}

func (m *memory[K, V]) put(k K, v V) {
	m.mu.Lock()
	defer m.mu.Unlock()
	size := m.size(v)
	if old, known := m.kept[k]; known {
		m.held -= m.size(old)
		delete(m.kept, k)
	}
	if m.held+size > m.most {
		clear(m.kept)
		m.held = 0
	}
	m.kept[k] = v
	m.held += size
}

// once tells whether k was not kept yet, and keeps it.
func (m *memory[K, V]) once(k K, v V) bool {
	if _, known := m.get(k); known {
		return false
	}
	m.put(k, v)
	return true
}
