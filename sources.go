package keyreel

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Sources are the protocols through which a process gets the tokens of its identity, by the names that Variables takes.
var sources = []string{"app-service", "imds", "arc", "cloud-shell", "machine-learning", "service-fabric"}

// Sources lists the protocols that Variables knows.
func Sources() []string { return slices.Clone(sources) }

// Variables returns the environment variables that lead Azure's SDKs to a registered workload's identity through one
// protocol (see Sources). "" is App Service for those that know it, with Cloud Shell's for az before 2.74, IMDS's for SDKs
// that can be led there, and Terraform's.
func (c *Client) Variables(source, workloadID, secret string) (map[string]string, error) {
	base := c.IdentityURL() + "/msi/" + workloadID
	appService := map[string]string{"IDENTITY_ENDPOINT": base + "/token", "IDENTITY_HEADER": secret}
	switch source {
	case "":
		appService["MSI_ENDPOINT"] = base + "/oauth2/token"
		appService["AZURE_POD_IDENTITY_AUTHORITY_HOST"] = base
		appService["ARM_USE_MSI"], appService["ARM_MSI_ENDPOINT"] = "true", base+"/metadata/identity/oauth2/token"
		return appService, nil
	case "app-service":
		return appService, nil
	case "imds":
		return map[string]string{"AZURE_POD_IDENTITY_AUTHORITY_HOST": base}, nil
	case "arc":
		if !c.where.Arc {
			return nil, errors.New("the endpoint of Azure Arc is off: start the server with arc-tokens")
		}
		return map[string]string{"IDENTITY_ENDPOINT": base + "/arc/token", "IMDS_ENDPOINT": c.IdentityURL()}, nil
	case "cloud-shell":
		return map[string]string{"MSI_ENDPOINT": base + "/oauth2/token"}, nil
	case "machine-learning":
		return map[string]string{"MSI_ENDPOINT": base + "/machinelearning/token", "MSI_SECRET": secret}, nil
	case "service-fabric":
		if c.where.Fabric == "" {
			return nil, errors.New("the endpoint of Service Fabric is off: start the server with fabric-listen")
		}
		return map[string]string{
			"IDENTITY_ENDPOINT": "https://" + c.where.Fabric + "/msi/" + workloadID + "/fabric/token", "IDENTITY_HEADER": secret,
			"IDENTITY_SERVER_THUMBPRINT": c.where.FabricThumbprint,
		}, nil
	}
	return nil, fmt.Errorf("there is no source %q; the sources are %s", source, strings.Join(sources, ", "))
}
