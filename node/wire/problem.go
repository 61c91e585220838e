package wire

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
)

// maxProblem bounds the body of an answer that is not a success; it is one sentence.
const maxProblem = 64 << 10

// ProblemError is an answer that is not a success, with where it came from.
type ProblemError struct {
	Problem
	Method string
	URL    string
}

// Error says what was asked of whom, the status, and the head's own words.
func (e *ProblemError) Error() string {
	s := fmt.Sprintf("%s %s: %d %s", e.Method, e.URL, e.Status, http.StatusText(e.Status))
	if e.Detail != "" {
		s += ": " + e.Detail
	}
	return s
}

// Try is what the head advises, often a command to type; empty if nothing.
func (e *ProblemError) Try() string { return e.Problem.Try }

// readProblem reads the body of an unsuccessful answer. A body that is not a Problem (a proxy's page, another server
// on that port) is quoted by its first line.
func readProblem(resp *http.Response, method, url string) *ProblemError {
	e := &ProblemError{Method: method, URL: url}
	data, _ := io.ReadAll(io.LimitReader(resp.Body, maxProblem)) // what came is better than nothing
	if err := json.Unmarshal(data, &e.Problem); err != nil || e.Detail == "" {
		line, _, _ := strings.Cut(strings.TrimSpace(string(data)), "\n")
		e.Problem = Problem{Detail: line[:min(len(line), 200)]}
	}
	e.Status = resp.StatusCode
	return e
}
