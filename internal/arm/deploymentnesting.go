package arm

import (
	"net/http"
	"strings"

	"github.com/keyreel/keyreel/internal/azure"
)

// maxNested is how many deployments a client's deployment may nest, at all depths together. A template of a few hundred
// bytes could otherwise, with a loop of nested deployments in each, ask for more than the server can ever do.
const maxNested = 800

// nest counts the deployments that this one nests against what it may, and divides the rest among them.
func (d *deploymentRun) nest() error {
	n, allowed := 0, maxNested
	for _, r := range d.plan.bound.Resources {
		if strings.EqualFold(r.Type, deploymentType) {
			n++
		}
	}
	caller := *d.caller
	if caller.Nested > 0 {
		allowed = caller.Nested - 1
	}
	if n > allowed {
		return azure.Errorf(http.StatusConflict, "DeploymentQuotaExceeded",
			"The deployment nests %d deployments and may nest %d: one may nest %d at all depths together, and what the deployments at one depth leave "+
				"of them is for those below, in equal parts.", n, allowed, maxNested)
	}
	caller.Nested = 1 + (allowed-n)/max(n, 1)
	d.caller = &caller
	return nil
}
