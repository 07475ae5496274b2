//go:build ceph

package rbd

import (
	"encoding/json"
	"fmt"
)

// fence has the cluster shut out a client of ours whose process is gone. An OSD that was told to watch while the
// process died may keep its watch for ever, and nothing that is watched can be removed; librbd does the same to
// the dead owner of an image's lock. address is the client's as ListWatchers tells it; it is never given again.
// The mons forget it after an hour.
func (b *Backend) fence(s *session, address string) error {
	b.mu.Lock()
	done := b.fenced[address]
	b.fenced[address] = true
	b.mu.Unlock()
	if done {
		return nil
	}
	command, err := json.Marshal(map[string]string{"prefix": "osd blocklist", "blocklistop": "add", "addr": address})
	if err != nil {
		return err
	}
	if _, _, err := s.conn.MonCommand(command); err != nil {
		b.mu.Lock()
		delete(b.fenced, address)
		b.mu.Unlock()
		return fmt.Errorf("shut out client %s, whose process is gone: %w", address, err)
	}
	return nil
}
