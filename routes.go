package keyreel

import "github.com/keyreel/keyreel/internal/azure"

// Operations lists everything that the server answers, by service: the rows that serve requests, decide on them, and
// print docs/compat/operations.md.
func (s *Server) Operations() map[string][]azure.Route {
	return map[string][]azure.Route{
		azure.Login:      s.authority.Routes(),
		azure.Management: s.manager.Routes(),
		azure.Graph:      s.graph.Routes(),
		azure.Vault:      s.vaults.Routes(),
		azure.Blob:       s.storage.Routes(),
		azure.Streaming:  s.media.Routes(),
	}
}
