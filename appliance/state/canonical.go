package state

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// maxDepth is deeper than any value nests, and shallow enough that a hostile one cannot exhaust the stack.
const maxDepth = 64

// Canonical gives the one encoding that all JSON texts of the same value share: keys sorted, no white space, each
// number and string in one spelling. Equal bytes then mean equal values, on all heads. It is RFC 8785 but for integers,
// which keep all their digits.
func Canonical(data []byte) ([]byte, error) {
	if !utf8.Valid(data) {
		return nil, errors.New("canonical JSON: not UTF-8")
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	out, err := appendValue(make([]byte, 0, len(data)), dec, 0)
	if err != nil {
		return nil, fmt.Errorf("canonical JSON: %w", err)
	}
	if _, err := dec.Token(); err != io.EOF {
		return nil, errors.New("canonical JSON: more than one value")
	}
	return out, nil
}

func appendValue(out []byte, dec *json.Decoder, depth int) ([]byte, error) {
	if depth > maxDepth {
		return nil, fmt.Errorf("nested deeper than %d", maxDepth)
	}
	token, err := dec.Token()
	if err != nil {
		return nil, err
	}
	switch t := token.(type) {
	case nil:
		return append(out, "null"...), nil
	case bool:
		return strconv.AppendBool(out, t), nil
	case json.Number:
		return appendNumber(out, string(t))
	case string:
		return appendString(out, t)
	case json.Delim:
		if t == '[' {
			return appendArray(out, dec, depth)
		}
		return appendObject(out, dec, depth)
	}
	return nil, fmt.Errorf("unexpected token %v", token)
}

func appendArray(out []byte, dec *json.Decoder, depth int) ([]byte, error) {
	var err error
	out = append(out, '[')
	for i := 0; dec.More(); i++ {
		if i > 0 {
			out = append(out, ',')
		}
		if out, err = appendValue(out, dec, depth+1); err != nil {
			return nil, err
		}
	}
	_, err = dec.Token()
	return append(out, ']'), err
}

func appendObject(out []byte, dec *json.Decoder, depth int) ([]byte, error) {
	members := map[string][]byte{}
	for dec.More() {
		token, err := dec.Token()
		if err != nil {
			return nil, err
		}
		name, ok := token.(string)
		if !ok {
			return nil, fmt.Errorf("member name %v", token)
		}
		if _, ok := members[name]; ok {
			return nil, fmt.Errorf("member %q twice", name)
		}
		if members[name], err = appendValue(nil, dec, depth+1); err != nil {
			return nil, err
		}
	}
	if _, err := dec.Token(); err != nil {
		return nil, err
	}
	out = append(out, '{')
	for i, name := range slices.Sorted(maps.Keys(members)) {
		if i > 0 {
			out = append(out, ',')
		}
		var err error
		if out, err = appendString(out, name); err != nil {
			return nil, err
		}
		out = append(append(out, ':'), members[name]...)
	}
	return append(out, '}'), nil
}

func appendNumber(out []byte, s string) ([]byte, error) {
	if !strings.ContainsAny(s, ".eE") {
		if s == "-0" {
			s = "0"
		}
		return append(out, s...), nil
	}
	f, err := strconv.ParseFloat(s, 64)
	if err != nil {
		return nil, fmt.Errorf("number %s: out of range", s)
	}
	if f == 0 {
		return append(out, '0'), nil
	}
	text, err := json.Marshal(f) // ECMAScript's spelling, as RFC 8785 wants
	return append(out, text...), err
}

func appendString(out []byte, s string) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(s); err != nil {
		return nil, err
	}
	return append(out, bytes.TrimSuffix(b.Bytes(), []byte("\n"))...), nil
}
