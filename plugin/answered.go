package plugin

import (
	"time"

	"github.com/clonecache/clonecache/plugin/catalog"
)

// answered notes what a request came to, and that its intent has ended; 0: it had none. An error is for those whose
// intent would outlive it (see made and alreadyMade); it is logged, and nobody else acts on it.
func (l *ladder) answered(q *request, intent int64, a *Answer, f *filled) error {
	took := l.now().Sub(q.begun)
	a.TookMS = milliseconds(took)
	r := catalog.Request{
		At: l.now().UTC(), Backend: q.store.name, ImageID: q.image.Ref(), Entry: catalog.EntryID(a.EntryID),
		Outcome: a.Outcome, Reason: a.Reason, Took: took, DownloadedBytes: a.DownloadedBytes,
		Volume: q.Volume, Detail: a.Detail,
	}
	if f != nil && a.DownloadedBytes == 0 {
		r.SavedBytes = f.entry.SourceBytes
	}
	if f != nil && a.Outcome != Copied && !q.store.images.Info().IndependentClones {
		r.Clones = 1
	}
	return l.books.answer(intent, r)
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
