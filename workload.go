package keyreel

import (
	"context"

	"github.com/keyreel/keyreel/internal/azure"
	"github.com/keyreel/keyreel/internal/directory"
	"github.com/keyreel/keyreel/internal/store"
)

// RegisterWorkload gives a process of yours the identities named by the ARM IDs of user-assigned identities, the first
// as its default, and returns the environment variables with which every Azure SDK in that process finds them and
// trusts the local CA. IDENTITY_HEADER in it is the process's secret, shown this once.
func (s *Server) RegisterWorkload(ctx context.Context, name string, identities ...string) ([]string, error) {
	w := directory.Workload{Name: name}
	err := s.db.View(ctx, func(tx *store.Tx) error {
		w.Identities = nil
		for _, id := range identities {
			parsed, err := azure.ParseResourceID(id)
			if err != nil {
				return err
			}
			principal, _, err := s.directory.UserAssigned(ctx, tx, parsed)
			if err != nil {
				return err
			}
			w.Identities = append(w.Identities, principal)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	w, secret, err := s.directory.RegisterWorkload(ctx, w)
	if err != nil {
		return nil, err
	}
	variables, err := s.Variables("", w.ID, string(secret))
	if err != nil {
		return nil, err
	}
	env := []string{"IDENTITY_ENDPOINT=" + variables["IDENTITY_ENDPOINT"], "IDENTITY_HEADER=" + string(secret)}
	for _, name := range []string{"AZURE_POD_IDENTITY_AUTHORITY_HOST", "MSI_ENDPOINT"} {
		env = append(env, name+"="+variables[name])
	}
	return append(env, "AZURE_AUTHORITY_HOST="+s.URLs().Login()+"/", "AZURE_TENANT_ID="+s.install.TenantID,
		"SSL_CERT_FILE="+s.CAPath(), "REQUESTS_CA_BUNDLE="+s.CAPath(), "NODE_EXTRA_CA_CERTS="+s.CAPath()), nil
}
