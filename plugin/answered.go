package plugin

import (
	"cmp"
	"time"

	"github.com/clonecache/clonecache/plugin/catalog"
	"github.com/clonecache/clonecache/plugin/imagesource"
)

// answered notes what a request came to, and that its intent has ended; 0: it had none. An error is for those whose
// intent would outlive it (see made and alreadyMade); it is logged, and nobody else acts on it.
func (l *ladder) answered(q *request, intent int64, a *Answer, f *filled) error {
	took := l.now().Sub(q.begun)
	a.TookMS = milliseconds(took)
	r := catalog.Request{
		At: l.now().UTC(), Backend: q.store.name, ImageID: q.image.Ref(), Project: q.project(), Entry: catalog.EntryID(a.EntryID),
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

// project is whose image it is, for the report. One that its source has not described yet is nobody's that is known.
func (w *wanted) project() string {
	if w.key == "" {
		return ""
	}
	return projectOf(w.image)
}

// projectOf is whose image it is that its source has described, for the report.
func projectOf(i imagesource.Image) string {
	if i.Domain == "image-"+i.ID { // Glance's that have no owner
		return catalog.Everybody
	}
	return cmp.Or(i.Domain, catalog.Everybody)
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
