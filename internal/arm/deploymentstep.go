package arm

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/keyreel/keyreel/internal/azure"
	"github.com/keyreel/keyreel/internal/store"
)

// step is the write of one resource by a deployment.
type step struct {
	number    int
	target    string
	status    string // Running, Succeeded, Failed
	operation string // when the write is asynchronous
	failure   *azure.Error
	started   time.Time
	ended     time.Time
}

const running = "Running"

// steps returns what a run of a deployment has begun, in order.
func steps(ctx context.Context, tx *store.Tx, deployment, run string) ([]*step, error) {
	rows, err := tx.Query(ctx, `SELECT number, target, status, operation, error, started, ended FROM arm_deployment_steps
		WHERE deployment = $1 AND run = $2 ORDER BY number`, deployment, run)
	if err != nil {
		return nil, fmt.Errorf("loading steps: %w", err)
	}
	defer rows.Close()
	var list []*step
	for rows.Next() {
		var s step
		var failure string
		var started, ended int64
		if err := rows.Scan(&s.number, &s.target, &s.status, &s.operation, &failure, &started, &ended); err != nil {
			return nil, fmt.Errorf("loading steps: %w", err)
		}
		if failure != "" {
			if err := json.Unmarshal([]byte(failure), &s.failure); err != nil {
				return nil, fmt.Errorf("loading steps: %w", err)
			}
		}
		s.started, s.ended = store.Time(started), store.Time(ended)
		list = append(list, &s)
	}
	return list, rows.Err()
}

// saveStep stores a step, and forgets those of earlier runs.
func saveStep(ctx context.Context, tx *store.Tx, deployment, run string, s *step) error {
	failure := ""
	if s.failure != nil {
		text, err := json.Marshal(s.failure)
		if err != nil {
			return err
		}
		failure = string(text)
	}
	ended := int64(0)
	if s.status != running {
		s.ended = time.Now()
		ended = store.Micros(s.ended)
	}
	if _, err := tx.Exec(ctx, `DELETE FROM arm_deployment_steps WHERE deployment = $1 AND run <> $2`, deployment, run); err != nil {
		return fmt.Errorf("forgetting steps: %w", err)
	}
	_, err := tx.Exec(ctx, `INSERT INTO arm_deployment_steps (deployment, run, number, target, status, operation, error, started, ended)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
		ON CONFLICT (deployment, run, number) DO UPDATE SET status = excluded.status, operation = excluded.operation,
			error = excluded.error, ended = excluded.ended`,
		deployment, run, s.number, s.target, s.status, s.operation, failure, store.Micros(s.started), ended)
	if err != nil {
		return fmt.Errorf("storing step on %s: %w", s.target, err)
	}
	return nil
}

// deploymentID returns the deployment that a command's path is below.
func deploymentID(r *azure.Request) azure.ResourceID {
	id := azure.ResourceID{
		Scope: "/subscriptions/" + r.Vars["subscription"], Namespace: "Microsoft.Resources",
		Types: []string{"deployments"}, Names: []string{r.Vars["deployment"]},
	}
	if group := r.Vars["resourceGroup"]; group != "" {
		id.Scope += "/resourceGroups/" + group
	}
	return id
}

// listSteps serves a deployment's operations, and one of them.
func (m *Manager) listSteps(w http.ResponseWriter, r *azure.Request) error {
	id := deploymentID(r)
	var list []*step
	err := m.o.DB.View(r.Context(), func(tx *store.Tx) error {
		res, err := m.existing(r.Context(), tx, id)
		if err != nil {
			return err
		}
		id = res.ID
		rows, err := tx.Query(r.Context(), `SELECT DISTINCT run FROM arm_deployment_steps WHERE deployment = $1`, id.Key())
		if err != nil {
			return err
		}
		defer rows.Close()
		run := ""
		for rows.Next() {
			if err := rows.Scan(&run); err != nil {
				return err
			}
		}
		if err := rows.Err(); err != nil {
			return err
		}
		rows.Close()
		list, err = steps(r.Context(), tx, id.Key(), run)
		return err
	})
	if err != nil {
		return err
	}
	value := []any{}
	for _, s := range list {
		shown := showStep(id, s)
		if r.Vars["step"] == shown["operationId"] {
			return azure.WriteJSON(w, http.StatusOK, shown)
		}
		value = append(value, shown)
	}
	if r.Vars["step"] != "" {
		return azure.Errorf(http.StatusNotFound, "DeploymentOperationNotFound", "The deployment operation '%s' could not be found.", r.Vars["step"])
	}
	return azure.WriteJSON(w, http.StatusOK, map[string]any{"value": value})
}

func showStep(deployment azure.ResourceID, s *step) map[string]any {
	name := fmt.Sprintf("%04d", s.number)
	target := map[string]any{"id": s.target}
	if id, err := azure.ParseResourceID(s.target); err == nil {
		target["resourceType"], target["resourceName"] = id.Type(), id.Name()
	}
	properties := map[string]any{
		"provisioningOperation": "Create", "provisioningState": s.status, "timestamp": s.started, "targetResource": target,
	}
	if s.status != running {
		properties["timestamp"], properties["duration"] = s.ended, isoDuration(s.ended.Sub(s.started))
		properties["statusCode"] = "OK"
	}
	if s.failure != nil {
		properties["statusCode"], properties["statusMessage"] = "Conflict", map[string]any{"status": Failed, "error": s.failure}
	}
	return map[string]any{"id": deployment.String() + "/operations/" + name, "operationId": name, "properties": properties}
}

// isoDuration is a duration as ISO 8601 has it: "PT1.5S".
func isoDuration(d time.Duration) string {
	return "PT" + strconv.FormatFloat(max(0, d).Seconds(), 'f', -1, 64) + "S"
}
