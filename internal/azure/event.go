package azure

import (
	"context"
	"crypto/rand"
	"fmt"
)

// Event is what one request did, filled on its way and logged once at its end by the listener.
type Event struct {
	RequestID       string // also x-ms-request-id
	ClientRequestID string // x-ms-client-request-id
	Service         string // e.g. "blob"
	Operation       string // the route's name
	Principal       string // the caller's object id
	Action          string // the RBAC action that was decided on
	Scope           string
	ErrorCode       string
	Err             error // unexpected; the reason for a 500
}

type eventKey struct{}

// WithEvent returns a context that carries ev.
func WithEvent(ctx context.Context, ev *Event) context.Context {
	return context.WithValue(ctx, eventKey{}, ev)
}

// EventOf returns the request's event; outside a request, an event that nobody reads.
func EventOf(ctx context.Context) *Event {
	if ev, ok := ctx.Value(eventKey{}).(*Event); ok {
		return ev
	}
	return &Event{}
}

// RequestID returns the id of the request that ctx belongs to, or "".
func RequestID(ctx context.Context) string { return EventOf(ctx).RequestID }

// NewGUID returns a random GUID (RFC 9562 version 4), lower case.
func NewGUID() string {
	var b [16]byte
	rand.Read(b[:])
	b[6] = b[6]&0x0f | 0x40
	b[8] = b[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
