package front

import (
	"io"
	"log/slog"
	"net/http"
	"testing"

	"github.com/keyreel/keyreel/internal/azure"
)

func TestAnswersAreGuarded(t *testing.T) {
	t.Parallel()
	answer := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/own" {
			w.Header().Set("Cache-Control", "no-cache")
		}
		io.WriteString(w, "{}")
	})
	f := &Front{Hosts: hosts, Log: slog.New(slog.DiscardHandler), Services: map[string]http.Handler{}}
	for _, service := range []string{azure.Login, azure.Management, azure.Graph, azure.Vault, azure.Blob, azure.Streaming, azure.KeyDelivery} {
		f.Services[service] = answer
	}
	client := serve(t, f)
	for _, tt := range []struct {
		name, url, cache string
		guarded          bool
	}{
		{"authority", "https://login.keyreel.localhost:8443/", "no-store", true},
		{"resource manager", "https://management.keyreel.localhost:8443/", "no-store", true},
		{"Graph", "https://graph.keyreel.localhost:8443/", "no-store", true},
		{"vault", "https://v.vault.keyreel.localhost:8443/", "no-store", true},
		{"vault, with its own", "https://v.vault.keyreel.localhost:8443/own", "no-cache", true},
		{"key delivery", "https://a.keydelivery.keyreel.localhost:8443/", "no-store", true},
		{"what customers stored", "https://a.blob.keyreel.localhost:8443/", "", false},
		{"streams", "https://e-a.streaming.keyreel.localhost:8443/", "", false},
	} {
		resp, err := client.Get(tt.url)
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		resp.Body.Close()
		h := resp.Header
		if got := h.Get("X-Content-Type-Options") == "nosniff" && h.Get("Strict-Transport-Security") != ""; got != tt.guarded || h.Get("Cache-Control") != tt.cache {
			t.Errorf("%s: %v", tt.name, h)
		}
	}
}
