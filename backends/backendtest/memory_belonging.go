package backendtest

import (
	"context"

	"github.com/clonecache/clonecache/backends"
)

// Identify implements backends.Belonging.
func (m *Memory) Identify(ctx context.Context) (backends.Identity, error) {
	leave, err := m.enter(ctx)
	if err != nil {
		return backends.Identity{}, err
	}
	defer leave()
	return backends.Identity{ID: m.id, Places: []string{"memory " + string(m.id)}}, nil
}

// HoldFor implements backends.Belonging.
func (m *Memory) HoldFor(ctx context.Context, h backends.Holder) error {
	leave, err := m.enter(ctx)
	if err != nil {
		return err
	}
	defer leave()
	if m.holder.Catalog != "" && m.holder.Catalog != h.Catalog {
		return &backends.HeldError{By: m.holder}
	}
	m.holder = h.After(m.holder, m.config.Now())
	return nil
}

// TakeOver implements backends.Belonging.
func (m *Memory) TakeOver(ctx context.Context, h backends.Holder) (was backends.Holder, err error) {
	leave, err := m.enter(ctx)
	if err != nil {
		return backends.Holder{}, err
	}
	defer leave()
	was, m.holder = m.holder, h.After(m.holder, m.config.Now())
	return was, nil
}
