package media

import (
	"context"
	"errors"
	"net/http"

	"github.com/keyreel/keyreel/internal/arm"
	"github.com/keyreel/keyreel/internal/azure"
	"github.com/keyreel/keyreel/internal/customerkey"
)

// gate refuses everything but GET, LIST and DELETE of the account itself while the account key is not to be had. A write
// of the account's encryption passes too: it may name an identity that still can unwrap the account key, in the place of
// one that is deleted, or another key than one that has expired. Prepare finds out, and refuses as the gate does.
func (s *Service) gate(ctx context.Context, res *arm.Resource, op arm.Op) error {
	if op.Target.Key() == res.ID.Key() {
		switch op.Method {
		case http.MethodGet, http.MethodHead, http.MethodDelete:
			return nil
		case http.MethodPut, http.MethodPatch:
			body, err := decodeAccountBody(op.Body)
			if err != nil {
				return err
			}
			if body.Encryption != nil {
				return nil
			}
		}
	}
	_, err := s.o.Keys.Key(ctx, res.ID.Key())
	return inaccessible(res.ID, err)
}

// inaccessible renders the problem that keeps an account from its key.
func inaccessible(id azure.ResourceID, err error) error {
	var p *customerkey.Problem
	if !errors.As(err, &p) {
		return err
	}
	e := azure.Errorf(http.StatusForbidden, "CustomerKeyInaccessible",
		"The media account '%s' cannot use the customer key that protects it, so only GET, LIST and DELETE of the account work. It returns by itself when access is restored. %s",
		accountID(id).Name(), p.Detail)
	e.Details = []azure.Error{{Code: p.Code, Message: p.Detail, Target: "properties.encryption"}}
	return e
}
