package redfish

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"path"
	"slices"
	"strings"

	"github.com/stmcginnis/gofish"
	"github.com/stmcginnis/gofish/schemas"

	"masthead/appliance/fence/param"
	"masthead/appliance/fence/trust"
)

// Params are the parameters of a device, named as those of fence_redfish.
var Params = slices.Concat(param.Set{
	{Name: "ip", Aliases: []string{"ipaddr", "address"}, Required: true, Text: "name or address of the management controller"},
	{Name: "ipport", Kind: param.Number, Text: "TCP port; left out: 443, without TLS 80"},
	{Name: "username", Aliases: []string{"login"}, Text: "user who may reset the machine"},
	{Name: "password", Aliases: []string{"passwd"}, Text: "password of the user"},
	{Name: "systems_uri", Aliases: []string{"systems-uri", "plug", "port"}, Text: "the machine: its id, name or /redfish/v1/Systems/ID; needed where the controller has several"},
	{Name: "ssl", Kind: param.Flag, Default: "yes", Text: "use TLS"},
}, trust.Params)

// System is one machine behind a management controller.
type System struct {
	endpoint           string
	username, password string
	which              string
	tls                *tls.Config
}

// New reads the parameters of a machine; it does not connect.
func New(given map[string]string) (*System, error) {
	v, err := Params.Read(given)
	if err != nil {
		return nil, err
	}
	c, err := trust.Config(v)
	if err != nil {
		return nil, err
	}
	if (v["username"] == "") != (v["password"] == "") {
		return nil, errors.New("parameters username and password: one is missing")
	}
	scheme, host := "https://", strings.Trim(v["ip"], "[]")
	if !v.Flag("ssl") {
		scheme = "http://"
	}
	switch {
	case v["ipport"] != "":
		host = net.JoinHostPort(host, v["ipport"])
	case strings.Contains(host, ":"):
		host = "[" + host + "]"
	}
	return &System{scheme + host, v["username"], v["password"], v["systems_uri"], c}, nil
}

// Off orders the machine off. One that is off already is not ordered: many controllers refuse that.
func (s *System) Off(ctx context.Context) error {
	return s.do(ctx, func(m *schemas.ComputerSystem) error {
		if m.PowerState == schemas.OffPowerState {
			return nil
		}
		if _, err := m.Reset(schemas.ForceOffResetType); err != nil {
			return fmt.Errorf("ForceOff of %s: %w", m.ODataID, err)
		}
		return nil
	})
}

// On asks for the power state.
func (s *System) On(ctx context.Context) (on bool, err error) {
	err = s.do(ctx, func(m *schemas.ComputerSystem) error {
		switch m.PowerState {
		case schemas.OffPowerState:
			on = false
		case schemas.OnPowerState, schemas.PoweringOnPowerState, schemas.PoweringOffPowerState, schemas.PausedPowerState:
			on = true
		default:
			return fmt.Errorf("%s has the unknown power state %.40q", m.ODataID, m.PowerState)
		}
		return nil
	})
	return on, err
}

func (s *System) do(ctx context.Context, f func(*schemas.ComputerSystem) error) error {
	transport := trust.Transport(s.tls)
	c, err := gofish.ConnectContext(ctx, gofish.ClientConfig{
		Endpoint: s.endpoint, Username: s.username, Password: s.password,
		BasicAuth:         true, // a session each minute would fill the controller's few places
		HTTPClient:        &http.Client{Transport: transport},
		NoModifyTransport: true,
	})
	if err != nil {
		return fmt.Errorf("redfish at %s: %w", s.endpoint, err)
	}
	m, err := s.find(c)
	if err == nil {
		err = f(m)
	}
	if err != nil {
		return fmt.Errorf("redfish at %s: %w", s.endpoint, err)
	}
	return nil
}

// find is the machine that is meant; where that is not clear it is none.
func (s *System) find(c *gofish.APIClient) (*schemas.ComputerSystem, error) {
	if strings.HasPrefix(s.which, "/") {
		m, err := schemas.GetObject[schemas.ComputerSystem](c, s.which)
		if err != nil {
			return nil, err
		}
		// A controller that answers with something else, as a page for people, has no such machine.
		if path.Clean(m.ODataID) != path.Clean(s.which) {
			return nil, fmt.Errorf("%s is not a machine", s.which)
		}
		return m, nil
	}
	all, err := c.Service.Systems()
	if err != nil {
		return nil, err
	}
	var ids []string
	var found []*schemas.ComputerSystem
	for _, m := range all {
		ids = append(ids, m.ID)
		if s.which == "" || m.ID == s.which || m.Name == s.which {
			found = append(found, m)
		}
	}
	if len(found) != 1 {
		return nil, fmt.Errorf("%d machines are meant by systems_uri %q; the controller has %s", len(found), s.which, strings.Join(ids, ", "))
	}
	return found[0], nil
}
