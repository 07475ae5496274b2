package plugin

import (
	"context"
	"errors"

	"github.com/clonecache/clonecache/plugin/catalog"
)

// Check compares catalog, backends and quota with one another. With Repair it mends what can be mended;
// with Deep it also looks for what no listing names, reads every image-volume, and looks at every volume's
// state. Requests go on meanwhile.
func (p *Plugin) Check(ctx context.Context, o CheckOptions) (CheckResult, error) {
	return p.reconciler.check(ctx, o)
}

func (rec *reconciler) check(ctx context.Context, o CheckOptions) (CheckResult, error) {
	r := CheckResult{OK: true, Problems: []Problem{}}
	if o.Deep { // first: what is found again is then compared with the rest
		if err := rec.checkPart(ctx, o, &r, rec.surveyor.surveyStrays); err != nil {
			return CheckResult{}, err
		}
	}
	if err := rec.checkPart(ctx, o, &r, rec.surveyCatalog); err != nil {
		return CheckResult{}, err
	}
	if !o.Deep {
		return r, nil
	}
	deep, err := rec.surveyor.surveyContent(ctx, o) // for hours: others mend meanwhile
	if err != nil {
		return CheckResult{}, err
	}
	err = rec.checkPart(ctx, o, &r, func(context.Context) ([]finding, error) { return deep, nil })
	if err != nil {
		return CheckResult{}, err
	}
	return r, nil
}

// checkPart adds what a survey finds to r. Where it is mended, nobody else surveys or mends meanwhile.
func (rec *reconciler) checkPart(ctx context.Context, o CheckOptions, r *CheckResult, survey func(context.Context) ([]finding, error)) error {
	part := func(ctx context.Context) error {
		findings, err := survey(ctx)
		if err == nil {
			rec.addFindings(ctx, o, r, findings)
		}
		return err
	}
	if !o.Repair {
		return part(ctx)
	}
	return rec.aloneWithAll(ctx, part)
}

// surveyCatalog compares the catalog with all else, and with itself.
func (rec *reconciler) surveyCatalog(ctx context.Context) ([]finding, error) {
	flushed := rec.books.flush(ctx)
	findings, err := rec.surveyor.survey(ctx, rec.surveyor.everything())
	if err != nil {
		return nil, err
	}
	if flushed != nil {
		findings = append(findings, finding{Problem: Problem{
			Kind: "catalog-not-written", ID: rec.cfg.StateDir, Detail: flushed.Error(),
			Remedy: "see that state_dir has space and can be written; answered requests are counted then",
		}})
	}
	if err := rec.catalog.Check(ctx); err != nil {
		findings = append(findings, finding{Problem: Problem{
			Kind: "catalog-damaged", ID: rec.cfg.StateDir, Detail: err.Error(),
			Remedy: "restart the daemon: a catalog that cannot be read is put aside and rebuilt from the backends",
		}})
	}
	findings = append(findings, rec.surveyKept()...)
	damaged, err := rec.surveyor.surveyQuarantined(ctx)
	if err != nil {
		return nil, err
	}
	findings = append(findings, damaged...)
	totals, err := rec.surveyor.surveyTotals(ctx)
	return append(findings, totals...), err
}

// addFindings adds findings to a result, and mends them where that is wanted and can be done.
func (rec *reconciler) addFindings(ctx context.Context, o CheckOptions, r *CheckResult, findings []finding) {
	for _, f := range findings {
		problem := f.Problem
		if o.Repair && f.fix != nil {
			if err := rec.mend(ctx, f); err != nil {
				problem.Detail += "; not repaired: " + err.Error()
			} else {
				problem.Repaired = true
			}
		}
		r.OK = r.OK && problem.Repaired
		r.Problems = append(r.Problems, problem)
	}
}

// surveyTotals compares the sums that room, quota and reports go by with what they are the sums of.
func (v *surveyor) surveyTotals(ctx context.Context) ([]finding, error) {
	wrong, err := v.catalog.Miscounted(ctx)
	if errors.Is(err, catalog.ErrDamaged) {
		return nil, nil // which is a finding of its own
	}
	var findings []finding
	for _, w := range wrong {
		findings = append(findings, finding{Problem: Problem{
			Kind: "catalog-totals", ID: v.cfg.StateDir, Detail: w,
			Remedy: "check --repair counts them anew",
		}, fix: v.catalog.Recount})
	}
	return findings, err
}
