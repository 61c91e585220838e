package appliance

import (
	"context"
	"net/http"
	"net/netip"
	"reflect"
	"strings"
	"time"
)

// openAPI describes the API as an OpenAPI 3.1 document, made from the routes and the Go types of their bodies, so that
// it cannot say anything else than the program does.
func (a *api) openAPI(context.Context, caller, *http.Request) (any, error) {
	schemas := map[string]any{}
	paths := map[string]map[string]any{}
	for _, rt := range a.routes() {
		method, path, _ := strings.Cut(rt.pattern, " ")
		op := map[string]any{
			"summary":   rt.summary,
			"x-access":  string(rt.access),
			"responses": responses(rt, schemas),
		}
		if rt.in != nil {
			op["requestBody"] = map[string]any{"required": true, "content": jsonContent(rt.in, schemas)}
		}
		if rt.access != anybody {
			op["security"] = []any{map[string]any{"bearer": []string{}}}
		}
		if params := pathParameters(path); len(params) > 0 {
			op["parameters"] = params
		}
		if paths[path] == nil {
			paths[path] = map[string]any{}
		}
		paths[path][strings.ToLower(method)] = op
	}
	return map[string]any{
		"openapi": "3.1.0",
		"info":    map[string]any{"title": "masthead", "version": a.head.cfg.Version},
		"paths":   paths,
		"components": map[string]any{
			"schemas":         schemas,
			"securitySchemes": map[string]any{"bearer": map[string]any{"type": "http", "scheme": "bearer"}},
		},
	}, nil
}

func responses(rt route, schemas map[string]any) map[string]any {
	ok := map[string]any{"description": "done"}
	if rt.out != nil {
		ok["content"] = jsonContent(rt.out, schemas)
	}
	status := "200"
	if rt.out == nil && rt.stream == nil {
		status = "204"
	}
	return map[string]any{status: ok, "default": map[string]any{"description": "a problem: status, detail, try"}}
}

func pathParameters(path string) []any {
	var params []any
	for _, part := range strings.Split(path, "/") {
		if name, ok := strings.CutPrefix(part, "{"); ok {
			params = append(params, map[string]any{
				"name": strings.TrimSuffix(name, "}"), "in": "path", "required": true, "schema": map[string]any{"type": "string"},
			})
		}
	}
	return params
}

func jsonContent(v any, schemas map[string]any) map[string]any {
	return map[string]any{"application/json": map[string]any{"schema": schemaOf(reflect.TypeOf(v), schemas)}}
}

// schemaOf is the JSON Schema of a Go type as encoding/json writes it. Structs become named schemas.
func schemaOf(t reflect.Type, schemas map[string]any) map[string]any {
	switch t {
	case reflect.TypeFor[time.Time]():
		return map[string]any{"type": "string", "format": "date-time"}
	case reflect.TypeFor[netip.Addr]():
		return map[string]any{"type": "string", "format": "ip"}
	}
	switch t.Kind() {
	case reflect.Pointer:
		return schemaOf(t.Elem(), schemas)
	case reflect.Slice:
		return map[string]any{"type": "array", "items": schemaOf(t.Elem(), schemas)}
	case reflect.Map:
		return map[string]any{"type": "object", "additionalProperties": schemaOf(t.Elem(), schemas)}
	case reflect.Struct:
		return structSchema(t, schemas)
	case reflect.String:
		return map[string]any{"type": "string"}
	case reflect.Bool:
		return map[string]any{"type": "boolean"}
	case reflect.Float64, reflect.Float32:
		return map[string]any{"type": "number"}
	case reflect.Interface:
		return map[string]any{}
	}
	return map[string]any{"type": "integer"}
}

func structSchema(t reflect.Type, schemas map[string]any) map[string]any {
	ref := map[string]any{"$ref": "#/components/schemas/" + t.Name()}
	if schemas[t.Name()] != nil {
		return ref
	}
	properties := map[string]any{}
	schemas[t.Name()] = map[string]any{"type": "object", "properties": properties} // first, for types that hold themselves
	for i := range t.NumField() {
		f := t.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if name == "-" || !f.IsExported() {
			continue
		}
		if name == "" {
			name = f.Name
		}
		properties[name] = schemaOf(f.Type, schemas)
	}
	return ref
}
