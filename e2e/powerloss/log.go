package powerloss

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
)

// kind is what an event of the log is.
type kind byte

const (
	write   kind = 'W' // data that the disk took, not yet durable
	barrier kind = 'B' // a flush: all before it is durable from here on
	mark    kind = 'M' // what a test says about this moment
)

// event is one thing that the recorder saw.
type event struct {
	kind   kind
	offset int64  // of a write, in bytes
	data   []byte // of a write or a mark
}

// In the log's file an event is its kind, its offset (u64, little-endian), the length of its data (u32) and
// the data.
const eventHead = 1 + 8 + 4

func (e event) appendTo(b []byte) []byte {
	b = append(b, byte(e.kind))
	b = binary.LittleEndian.AppendUint64(b, uint64(e.offset))
	b = binary.LittleEndian.AppendUint32(b, uint32(len(e.data)))
	return append(b, e.data...)
}

// readLog reads a log whole.
func readLog(path string) ([]event, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	in := bufio.NewReaderSize(f, 1<<20)
	var events []event
	for {
		var head [eventHead]byte
		if _, err := io.ReadFull(in, head[:]); errors.Is(err, io.EOF) {
			return events, nil
		} else if err != nil {
			return nil, fmt.Errorf("read log %s: %w", path, err)
		}
		e := event{
			kind: kind(head[0]), offset: int64(binary.LittleEndian.Uint64(head[1:])),
			data: make([]byte, binary.LittleEndian.Uint32(head[9:])),
		}
		if _, err := io.ReadFull(in, e.data); err != nil {
			return nil, fmt.Errorf("read log %s: %w", path, err)
		}
		events = append(events, e)
	}
}
