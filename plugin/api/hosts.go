package api

import (
	"context"

	"github.com/sirupsen/logrus"

	"github.com/clonecache/clonecache/plugin"
)

type hostInput struct {
	ID string `path:"id" maxLength:"255" doc:"The host's ID, or a part of at least 4 characters that only one begins or ends with, or its name where only one has that"`
}

func (s *Server) hostRoutes() {
	route(s, get("list-hosts", "/v1/hosts", "The daemons that use the catalog"), func(ctx context.Context, svc Service, _ *none) (*output[[]plugin.HostView], error) {
		return listed(svc.Hosts(ctx))
	})
	route(s, del("remove-host", "/v1/hosts/{id}", "Forget a daemon that is gone for good; others have what it held leases of"), func(ctx context.Context, svc Service, in *hostInput) (*output[plugin.HostView], error) {
		was, err := svc.RemoveHost(ctx, in.ID)
		if err == nil {
			s.logFor(ctx).WithFields(logrus.Fields{"host": was.ID, "name": was.Name}).Info("host removed")
		}
		return answer(was, err)
	})
}
