package material

import (
	"errors"
	"fmt"
)

// ErrDecrypt is why something does not decrypt or unwrap.
var ErrDecrypt = errors.New("it does not decrypt with this key")

// InputError is a property of a request that does not fit the key or the algorithm.
type InputError struct {
	Property string // as the service's requests name it: "value", "alg", "n"
	Problem  string // what is wrong with it and what would do
}

// Error implements error.
func (e *InputError) Error() string {
	return "Property " + e.Property + " " + e.Problem
}

func badInput(property, format string, args ...any) error {
	return &InputError{Property: property, Problem: fmt.Sprintf(format, args...)}
}
