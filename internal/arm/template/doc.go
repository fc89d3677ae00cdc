// Package template reads Azure Resource Manager templates and evaluates them: parameters, variables, copy loops,
// conditions, the order of resources, and the expression language. It keeps nothing and calls nobody; what an expression
// asks of deployed resources comes from a [Runtime].
//
//	t, err := template.Parse(text)
//	d, err := t.Bind(arguments, scope)          // parameters checked, resources expanded and ordered
//	body, err := d.Body(ctx, d.Resources[0], rt)  // one resource's request, once those before it are there
//
// # Invariants
//
//   - An evaluation ends: calls, and the size of what they make, are counted, and a template that takes too much fails.
//   - A template's error names the line and the place. No error holds the value of a secure parameter.
//   - Bind with equal arguments and scope gives equal resources in equal order. newGuid and utcNow, which are allowed in
//     defaults of parameters alone, take their values from the scope.
//
// # Specification
//
// The template schemas 2015-01-01 and 2019-04-01 and the function reference
// (https://learn.microsoft.com/azure/azure-resource-manager/templates/syntax), with comments, strings of several lines and
// names without quotes, as az sends one; languageVersion 2.0 with symbolic names and types, functions of the template's own
// and lambdas, as Bicep writes them. Divergences: imports, extensions, linked templates and parameters from a key vault are
// refused, not ignored; the functions for networks and zones are not known. uniqueString and guid give Azure's strings.
package template
