package main

import (
	"context"
	"net/http"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"

	"github.com/keyreel/keyreel"
)

// administrator calls a running server as its administrator, whose credentials stand in the data folder.
type administrator struct {
	client            *keyreel.Client
	management, graph runtime.Pipeline
}

func newAdministrator(data string) (*administrator, error) {
	client, err := keyreel.Connect(data)
	if err != nil {
		return nil, err
	}
	credential, err := client.Administrator()
	if err != nil {
		return nil, err
	}
	pipeline := func(resource string) runtime.Pipeline {
		options := client.ClientOptions()
		return runtime.NewPipeline("keyreel", "v0.0.0", runtime.PipelineOptions{
			PerRetry: []policy.Policy{runtime.NewBearerTokenPolicy(credential, []string{resource + "/.default"}, nil)},
		}, &options)
	}
	return &administrator{client: client, management: pipeline("https://management.azure.com"), graph: pipeline("https://graph.microsoft.com")}, nil
}

// call sends a request to the resource manager and decodes the answer into v, when v is not nil. A refusal is an
// *azcore.ResponseError.
func (a *administrator) call(ctx context.Context, method, path string, body, v any) error {
	return send(ctx, a.management, method, a.client.URLs().Management()+path, body, v)
}

// directory reads from Microsoft Graph.
func (a *administrator) directory(ctx context.Context, path string, v any) error {
	return send(ctx, a.graph, http.MethodGet, a.client.URLs().Graph()+"/v1.0/"+path, nil, v)
}

func send(ctx context.Context, pipeline runtime.Pipeline, method, url string, body, v any) error {
	req, err := runtime.NewRequest(ctx, method, url)
	if err != nil {
		return err
	}
	if body != nil {
		if err := runtime.MarshalAsJSON(req, body); err != nil {
			return err
		}
	}
	resp, err := pipeline.Do(req)
	if err != nil {
		return err
	}
	if !runtime.HasStatusCode(resp, http.StatusOK, http.StatusCreated) {
		return runtime.NewResponseError(resp)
	}
	if v == nil {
		return nil
	}
	return runtime.UnmarshalAsJSON(resp, v)
}

// missing reports whether an error is the server's word that there is no such thing.
func missing(err error) bool {
	refused, ok := err.(*azcore.ResponseError)
	return ok && refused.StatusCode == http.StatusNotFound
}
