package file

import (
	"errors"
	"reflect"
	"testing"

	"github.com/clonecache/clonecache/backends"
)

var usual = stamp{
	Name: "volume-7d444840-9dc0-11d1-b245-5ffdce74fad2", ID: "AAECAwQFBgc", Token: "0190f8a0-7c3e-7e2a-9c3e-7e2a9c3e7e2a", SizeBytes: 10 << 30,
	Origin: backends.Origin{
		EntryID:     "0190f8a0-7c3e-7e2a-9c3e-7e2a9c3e7e2b",
		ContentKey:  "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef/qcow2",
		LookupKey:   "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef/qcow2",
		ImageID:     "library:debian-12-genericcloud-amd64-20250316.qcow2",
		Store:       "local-volumes",
		ImageVolume: "0190f8a0-7c3e-7e2a-9c3e-7e2a9c3e7e2b-1",
	},
}

func TestAUsualStampFitsIntoTheInode(t *testing.T) {
	const limit = 255
	if got := len(usual.record()); got > limit {
		t.Errorf("got %d bytes, want at most %d: %s", got, limit, usual.record())
	}
}

func TestStampsAreReadAsTheyWereWritten(t *testing.T) {
	for name, s := range map[string]stamp{
		"usual":   usual,
		"empty":   {},
		"another": {Name: "a|b%~~u", Token: "=x", Mark: "+", Origin: backends.Origin{ImageVolume: "=|~s", DirectFrom: "rbd://a/b@c|d"}},
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
	f.Add(string(usual.Name), usual.Token, usual.Origin.EntryID, string(usual.Origin.ImageVolume), usual.Origin.ContentKey, int64(1))
	f.Add("=", "+", "|%~", "~u~s", "\x00\xff", int64(-1))
	f.Fuzz(func(t *testing.T, name, token, entry, volume, key string, size int64) {
		want := stamp{Name: backends.VolumeName(name), Token: token, SizeBytes: size, Origin: backends.Origin{
			EntryID: entry, ImageVolume: backends.ImageVolumeID(volume), ContentKey: key,
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
