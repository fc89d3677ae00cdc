package rbac

import (
	"context"
	"fmt"
)

// Outcome says what one assignment means for a query.
type Outcome string

// Outcomes of assignments.
const (
	Allows          Outcome = "Allows"
	Denies          Outcome = "Denies"
	NotThisScope    Outcome = "NotThisScope"
	NotThisAction   Outcome = "NotThisAction"
	ConditionNotMet Outcome = "ConditionNotMet"
	Excluded        Outcome = "Excluded"
)

// Considered is an assignment that was looked at: a role assignment with its role, or a deny assignment.
type Considered struct {
	Assignment *Assignment
	Role       *Definition
	Denial     *DenyAssignment
	Outcome    Outcome
	Missing    string // an attribute that the condition asked for and the query does not have
}

// Why says the outcome in words.
func (c *Considered) Why() string {
	if c.Denial != nil {
		switch c.Outcome {
		case Denies:
			return "forbids the action"
		case NotThisScope:
			return "does not apply below its scope"
		case Excluded:
			return "spares the principal"
		}
		return "does not concern the action"
	}
	switch c.Outcome {
	case Allows:
		return fmt.Sprintf("role '%s' allows the action", c.Role.Name)
	case NotThisScope:
		return "stands neither at the scope nor above it"
	case ConditionNotMet:
		return fmt.Sprintf("role '%s' holds the action, but %s", c.Role.Name, unmet(c.Missing))
	}
	return fmt.Sprintf("role '%s' does not hold the action", c.Role.Name)
}

// Explanation is a decision with every assignment that was looked at for it: deny assignments of the principals and of
// everyone at the scope and above it, then all role assignments of the principals.
type Explanation struct {
	Decision
	Considered []Considered
}

// Explain decides like Decide and tells how.
func (r *RBAC) Explain(ctx context.Context, q Query) (*Explanation, error) {
	var list []Considered
	seen := map[string]bool{} // deny assignments reach a caller by several of its ids
	d, err := r.decide(ctx, q, func(c Considered) {
		if c.Denial != nil {
			key := scopeKey(c.Denial.Scope) + " " + c.Denial.ID
			if seen[key] {
				return
			}
			seen[key] = true
		}
		list = append(list, c)
	})
	if err != nil {
		return nil, err
	}
	return &Explanation{Decision: *d, Considered: list}, nil
}
