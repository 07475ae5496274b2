package api

import (
	"context"

	"github.com/danielgtaylor/huma/v2"
	"github.com/sirupsen/logrus"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/plugin"
	"github.com/clonecache/clonecache/plugin/imagesource"
)

type lendInput struct {
	Backend backends.Name `path:"backend" doc:"Which backend's image-volumes are meant"`
	Accept  string        `header:"Accept" hidden:"true"`
	Token   string        `header:"X-Auth-Token" maxLength:"16384" doc:"The requester's own token, for image sources that authorise by it (Glance). Neither stored nor logged"`
	Body    lendBody
}

// lendBody is a request for a volume that the requester makes itself.
type lendBody struct {
	Place  backends.Place `json:"place,omitempty" maxLength:"255" doc:"Where the volume is to be: Cinder's host@backend#pool. An image-volume elsewhere is not lent. Default: anywhere"`
	Renews bool           `json:"renews,omitempty" doc:"The requester renews the loan after each renew_seconds of the answer, until it ends it. The loan of one that dies ends the sooner. Default: it does not, and the loan lasts for the backend's clone_time from the deadline on"`
	CreateBody
}

type loanInput struct {
	Loan plugin.LoanID `path:"loan"`
	Body loanEnd
}

type loanNamed struct {
	Loan plugin.LoanID `path:"loan"`
}

// loanEnd says what became of a loan.
type loanEnd struct {
	End backends.Return `json:"end" enum:"made,not_made,full,gone" doc:"made: the volume is there. not_made: it is not, and nothing of it. full: likewise, since no more clones can be made of what was lent. gone: likewise, since that is not there"`
}

func (s *Server) loanRoutes() {
	const what = "Lend an image-volume, which the requester's own driver makes the volume from; it is filled first where it is missing. It stays until the loan is ended. 200 with outcome bypassed says that nothing was lent and nothing is wrong: go the usual way"
	route(s, s.creates(post("lend-image-volume", "/v1/backends/{backend}/loans", what)), func(ctx context.Context, svc Service, in *lendInput) (*huma.StreamResponse, error) {
		return s.create(ctx, svc, creation{backend: in.Backend, accept: in.Accept, token: imagesource.Token(in.Token), body: in.Body.CreateBody, lend: &in.Body})
	})
	route(s, get("list-loans", "/v1/loans", "Image-volumes that are lent"), func(ctx context.Context, svc Service, _ *none) (*output[[]plugin.LoanView], error) {
		return listed(svc.Loans(ctx))
	})
	route(s, put("end-loan", "/v1/loans/{loan}", "Say what became of the volume that an image-volume was lent for. Repeating it is harmless"), func(ctx context.Context, svc Service, in *loanInput) (*none, error) {
		return s.endLoan(ctx, svc, in)
	})
	route(s, post("renew-loan", "/v1/loans/{loan}/renew", "The requester's driver still clones what was lent: let the loan last on. 404: it has ended, and what was lent may be gone"), func(ctx context.Context, svc Service, in *loanNamed) (*none, error) {
		return nil, svc.RenewLoan(ctx, in.Loan)
	})
	route(s, post("keep-loan", "/v1/loans/{loan}/keep", "The requester's volume is made: keep what was lent for its next one. It is answered when the requester is to give it back by ending the loan: after a minute, or as soon as the image-volume is to go; the loan of one that hangs up ends by itself within seconds. 404: it has ended"), func(ctx context.Context, svc Service, in *loanNamed) (*none, error) {
		return nil, svc.KeepLoan(ctx, in.Loan)
	})
	route(s, put("end-loans-of-place", "/v1/backends/{backend}/loans", "End the loans for all volumes that were to be made in a place: whoever made them has gone"), func(ctx context.Context, svc Service, in *loansEndInput) (*output[loansEnded], error) {
		return s.endLoans(ctx, svc, in)
	})
}

type loansEndInput struct {
	Backend backends.Name `path:"backend"`
	Body    loansEnd
}

// loansEnd says whose loans end.
type loansEnd struct {
	Place backends.Place  `json:"place" minLength:"1" maxLength:"255" doc:"Where the volumes were to be made: host@backend#pool, or host@backend for all of its pools"`
	End   backends.Return `json:"end" enum:"not_made" doc:"None of them is there, and nobody makes them any more"`
}

// loansEnded is how many ended.
type loansEnded struct {
	Ended int `json:"ended"`
}

func (s *Server) endLoans(ctx context.Context, svc Service, in *loansEndInput) (*output[loansEnded], error) {
	n, err := svc.EndLoansAt(ctx, in.Backend, in.Body.Place)
	if n > 0 {
		s.logFor(ctx).WithFields(logrus.Fields{"backend": in.Backend, "place": in.Body.Place, "loans": n}).Info("loans ended: whoever had them has begun anew")
	}
	return answer(loansEnded{n}, err)
}

func (s *Server) endLoan(ctx context.Context, svc Service, in *loanInput) (*none, error) {
	if err := svc.EndLoan(ctx, in.Loan, in.Body.End); err != nil {
		return nil, err
	}
	s.logFor(ctx).WithFields(logrus.Fields{"loan": in.Loan, "end": in.Body.End}).Info("loan ended")
	return nil, nil
}

// lentFields are what the log says of a loan besides.
func lentFields(a plugin.Answer) logrus.Fields {
	if a.Loan == "" {
		return logrus.Fields{}
	}
	return logrus.Fields{"loan": a.Loan, "lent": a.Generation}
}
