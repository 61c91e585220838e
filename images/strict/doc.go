// Package strict reads the YAML files that people write: unknown fields are errors, and every error says where it is.
package strict
