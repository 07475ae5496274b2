package file

import (
	"errors"
	"reflect"
	"testing"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/plugin/words"
)

var usual = stamp{
	Name: "volume-7d444840-9dc0-11d1-b245-5ffdce74fad2", ID: "AAECAwQFBgc", Token: "0190f8a0-7c3e-7e2a-9c3e-7e2a9c3e7e2a", SizeBytes: 10 << 30, Written: 1<<writtenBits - 1,
	Origin: backends.Origin{
		EntryID:     "0190f8a0-7c3e-7e2a-9c3e-7e2a9c3e7e2b",
		ContentKey:  "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef/qcow2",
		LookupKey:   "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef/qcow2",
		ImageID:     "library:debian-12-genericcloud-amd64-20250316.qcow2",
		Store:       "local-volumes",
		ImageVolume: "0190f8a0-7c3e-7e2a-9c3e-7e2a9c3e7e2b-1",
	},
}

// undigested is a stamp where the source told no digest.
func undigested() stamp {
	s := usual
	s.Name = "web-1"
	s.Origin.ImageVolume = "cc-0190f8a0-7c3e-7e2a-9c3e-7e2a9c3e7e2b-1"
	s.Origin.ImageID = "library:debian-12-genericcloud-amd64.qcow2"
	s.Origin.LookupKey = words.Key("rev:" + s.Origin.ImageID + "@size=4194304 mtime_ns=1795248719195422547 ctime_ns=1795248719195422548 inode=19481/qcow2")
	return s
}

func TestAUsualStampFitsIntoTheInode(t *testing.T) {
	const limit = 255
	for name, s := range map[string]stamp{"digest": usual, "no digest": undigested()} {
		if got := len(s.record()); got > limit {
			t.Errorf("%s: got %d bytes, want at most %d: %s", name, got, limit, s.record())
		}
	}
}

func TestStampsAreReadAsTheyWereWritten(t *testing.T) {
	for name, s := range map[string]stamp{
		"usual":    usual,
		"revision": undigested(),
		"times":    {Token: "9223372036854775807 9223372036854775808 0123456789012345678 17952487191954225470", Origin: backends.Origin{LookupKey: "rev:@~z"}},
		"empty":    {},
		"another":  {Name: "a|b%~~u", Token: "=x", Mark: "+", Origin: backends.Origin{ImageVolume: "=|~s", DirectFrom: "rbd://a/b@c|d"}},
		"upper case": {Token: "0190F8A0-7C3E-7E2A-9C3E-7E2A9C3E7E2B", Origin: backends.Origin{
			ContentKey: "sha256:0123456789ABCDEF0123456789abcdef0123456789abcdef0123456789abcdef"}},
	} {
		got, err := parseRecord(s.record())
		if err != nil || got != s {
			t.Errorf("%s: got %+v, %v, want %+v", name, got, err, s)
		}
	}
}

// A field that is added to Origin must come back too.
func TestAStampKeepsAllOfItsOrigin(t *testing.T) {
	var want stamp
	fields := reflect.ValueOf(&want.Origin).Elem()
	for i := range fields.NumField() {
		fields.Field(i).SetString(fields.Type().Field(i).Name)
	}
	if got, err := parseRecord(want.record()); err != nil || got != want {
		t.Errorf("got %+v, %v, want %+v", got, err, want)
	}
}

func FuzzStampRoundTrip(f *testing.F) {
	f.Add(string(usual.Name), usual.Token, string(usual.Origin.EntryID), string(usual.Origin.ImageVolume), string(usual.Origin.ContentKey), int64(1))
	f.Add("size= inode=", "1795248719195422547", " mtime_ns=", "~d~z", " ctime_ns=1", int64(2))
	f.Add("=", "+", "|%~", "~u~s", "\x00\xff", int64(-1))
	f.Fuzz(func(t *testing.T, name, token, entry, volume, key string, size int64) {
		want := stamp{Name: backends.VolumeName(name), Token: token, SizeBytes: size, Origin: backends.Origin{
			EntryID: words.EntryID(entry), ImageVolume: backends.ImageVolumeID(volume), ContentKey: words.Key(key),
		}}
		got, err := parseRecord(want.record())
		if err != nil || got != want {
			t.Errorf("got %+v, %v, want %+v", got, err, want)
		}
	})
}

func FuzzParseRecord(f *testing.F) {
	f.Add(usual.record())
	f.Add([]byte("V1|||||||||||||"))
	f.Add(undigested().record())
	f.Add([]byte("V1|a|b||1||@||@|||||AAAAAAE"))
	f.Add([]byte("V1|a|b||1||@||@|||||AAAAAAAAA"))
	f.Add([]byte("V1|~u|%|~s|0||=||+||||"))
	f.Fuzz(func(t *testing.T, record []byte) {
		s, err := parseRecord(record)
		if err != nil {
			if !errors.Is(err, backends.ErrNotOurs) {
				t.Errorf("got error %v, want %v", err, backends.ErrNotOurs)
			}
			return
		}
		if again, err := parseRecord(s.record()); err != nil || again != s {
			t.Errorf("got %+v, %v, want %+v", again, err, s)
		}
	})
}
