package main

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/arm"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
)

// event is what the demo reads of an activity log entry
// (https://learn.microsoft.com/rest/api/monitor/activity-logs/list).
type event struct {
	EventTimestamp time.Time `json:"eventTimestamp"`
	OperationName  struct {
		Value string `json:"value"`
	} `json:"operationName"`
	ResourceID string `json:"resourceId"`
	Status     struct {
		Value string `json:"value"`
	} `json:"status"`
	Properties map[string]string `json:"properties"`
}

// audit shows what the account's identity did, as the activity log tells it.
func (s *story) audit(ctx context.Context) error {
	s.title("The audit trail of what the account's identity did")
	return s.step("activity log of the identity "+s.principal, func() (string, error) {
		events, err := s.activity(ctx)
		if err != nil {
			return "", err
		}
		if len(events) == 0 {
			return "", errors.New("it is empty")
		}
		counts := map[string]int{}
		var order []string
		for _, e := range events {
			key := fmt.Sprintf("%-28s %s", e.OperationName.Value, e.Status.Value)
			if counts[key] == 0 {
				order = append(order, key)
			}
			counts[key]++
		}
		var b strings.Builder
		fmt.Fprintf(&b, "%d records\n", len(events))
		for _, key := range order {
			fmt.Fprintf(&b, "%4d x %s\n", counts[key], key)
		}
		if i := slices.IndexFunc(events, func(e event) bool { return e.Status.Value == "Denied" }); i >= 0 {
			fmt.Fprintf(&b, "the first denial: %s\n", wrap(events[i].Properties["reason"], 100))
		}
		return b.String(), nil
	})
}

func (s *story) activity(ctx context.Context) ([]event, error) {
	client, err := arm.NewClient("keyreel-demo", "v0.0.0", s.admin, s.opts)
	if err != nil {
		return nil, err
	}
	filter := fmt.Sprintf("eventTimestamp ge '%s' and caller eq '%s'", s.start.UTC().Format(time.RFC3339), s.principal)
	next := client.Endpoint() + "/subscriptions/" + s.subscription() + "/providers/Microsoft.Insights/eventtypes/management/values?api-version=2015-04-01&$filter=" + url.QueryEscape(filter)
	var all []event
	for next != "" {
		req, err := runtime.NewRequest(ctx, http.MethodGet, next)
		if err != nil {
			return nil, err
		}
		resp, err := client.Pipeline().Do(req)
		if err != nil {
			return nil, err
		}
		if !runtime.HasStatusCode(resp, http.StatusOK) {
			return nil, runtime.NewResponseError(resp)
		}
		var page struct {
			Value    []event `json:"value"`
			NextLink string  `json:"nextLink"`
		}
		if err := runtime.UnmarshalAsJSON(resp, &page); err != nil {
			return nil, err
		}
		all = append(all, page.Value...)
		next = page.NextLink
	}
	return all, nil
}

func pollOptions() runtime.PollUntilDoneOptions {
	return runtime.PollUntilDoneOptions{Frequency: polling}
}

// responseMessage returns the message of an Azure error with its details, without the request around it.
func responseMessage(err error) string {
	var r *azcore.ResponseError
	if !errors.As(err, &r) || r.RawResponse == nil {
		return err.Error()
	}
	body, readErr := runtime.Payload(r.RawResponse)
	if readErr != nil {
		return err.Error()
	}
	type detail struct {
		Code    string `json:"code"`
		Message string `json:"message"`
	}
	var answer struct {
		Error struct {
			detail
			Details []detail `json:"details"`
		} `json:"error"`
	}
	if json.Unmarshal(body, &answer) != nil || answer.Error.Message == "" {
		return strings.TrimSpace(strings.TrimPrefix(string(body), "\ufeff"))
	}
	text := answer.Error.Code + ": " + answer.Error.Message
	for _, d := range answer.Error.Details {
		text += "\n" + d.Code + ": " + d.Message
	}
	return text
}

// wrap breaks a text into lines of at most width bytes where it has spaces.
func wrap(text string, width int) string {
	var b strings.Builder
	length := 0
	for _, word := range strings.Fields(text) {
		if length > 0 && length+1+len(word) > width {
			b.WriteByte('\n')
			length = 0
		} else if length > 0 {
			b.WriteByte(' ')
			length++
		}
		b.WriteString(word)
		length += len(word)
	}
	return b.String()
}

// claim reads one claim of a token without checking it.
func claim(token, name string) (string, error) {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return "", errors.New("not a JWT")
	}
	body, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return "", err
	}
	var claims map[string]any
	if err := json.Unmarshal(body, &claims); err != nil {
		return "", err
	}
	text, ok := claims[name].(string)
	if !ok {
		return "", fmt.Errorf("the token has no claim %s", name)
	}
	return text, nil
}

// signHS256 makes the token that a shop would give its viewers.
func signHS256(claims map[string]any, key []byte) (string, error) {
	body, err := json.Marshal(claims)
	if err != nil {
		return "", err
	}
	text := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"HS256","typ":"JWT"}`)) + "." + base64.RawURLEncoding.EncodeToString(body)
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(text))
	return text + "." + base64.RawURLEncoding.EncodeToString(mac.Sum(nil)), nil
}
