package imagesource

import "sync"

// memory keeps what was learnt lately, by key: at most so many things; where there are more, all others are
// forgotten, and learnt again when needed. It may be used from several goroutines.
type memory[K comparable, V any] struct {
	most int
	mu   sync.Mutex
	kept map[K]V
}

func newMemory[K comparable, V any](most int) *memory[K, V] {
	return &memory[K, V]{most: most, kept: make(map[K]V)}
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
	if _, known := m.kept[k]; !known && len(m.kept) >= m.most {
		clear(m.kept)
	}
	m.kept[k] = v
}

// once tells whether k was not kept yet, and keeps it.
func (m *memory[K, V]) once(k K, v V) bool {
	if _, known := m.get(k); known {
		return false
	}
	m.put(k, v)
	return true
}
