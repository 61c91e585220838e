package ipmi

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/bougou/go-ipmi/pkg/client"
	"github.com/bougou/go-ipmi/pkg/command/chassis"
	"github.com/bougou/go-ipmi/pkg/types"

	"masthead/appliance/fence/param"
)

// Params are the parameters of a device, named as those of fence_ipmilan.
var Params = param.Set{
	{Name: "ip", Aliases: []string{"ipaddr", "address"}, Required: true, Text: "name or address of the management controller"},
	{Name: "ipport", Kind: param.Number, Default: "623", Text: "UDP port"},
	{Name: "username", Aliases: []string{"login"}, Required: true, Text: "user who may switch the machine"},
	{Name: "password", Aliases: []string{"passwd"}, Required: true, Text: "password of the user"},
	{Name: "privlvl", Default: "administrator", Text: "privilege that is asked for: operator suffices to switch, administrator"},
	{Name: "cipher", Kind: param.Number, Text: "cipher suite, 3 or 17; left out: the best that the controller offers"},
	{Name: "lanplus", Kind: param.Flag, Default: "yes", Text: "IPMI 2.0; no: IPMI 1.5, without encryption"},
}

const (
	// lost is how long an answer may take. Controllers are slow, and UDP loses packets: after this it is asked again.
	lost = 2 * time.Second
	// repeats in one session. When an answer was lost the controller drops the repeated request, whose number it has seen
	// (specification 6.12.13): then only a new session helps.
	repeats = 1
	// goodbye is how long the end of a session may take.
	goodbye = 500 * time.Millisecond
)

// Chassis is one machine behind its controller.
type Chassis struct {
	host               string
	port               int
	username, password string
	privilege          types.PrivilegeLevel
	cipher             types.CipherSuiteID
	lan                client.Interface
}

var privileges = map[string]types.PrivilegeLevel{"operator": types.PrivilegeLevelOperator, "administrator": types.PrivilegeLevelAdministrator}

// New reads the parameters of a machine; it does not connect.
func New(given map[string]string) (*Chassis, error) {
	v, err := Params.Read(given)
	if err != nil {
		return nil, err
	}
	level, known := privileges[strings.ToLower(v["privlvl"])]
	if !known {
		return nil, errors.New("parameter privlvl: must be operator or administrator")
	}
	c := &Chassis{host: strings.Trim(v["ip"], "[]"), port: v.Number("ipport"), username: v["username"], password: v["password"], privilege: level, lan: client.InterfaceLanplus}
	if v["cipher"] != "" {
		// The others leave out the check of who speaks, or use RC4.
		if !slices.Contains([]int{3, 17}, v.Number("cipher")) {
			return nil, errors.New("parameter cipher: must be 3 or 17")
		}
		c.cipher = types.CipherSuiteID(v.Number("cipher"))
	}
	if !v.Flag("lanplus") {
		c.lan = client.InterfaceLan
	}
	return c, nil
}

// Off orders the power off.
func (c *Chassis) Off(ctx context.Context) error {
	return c.do(ctx, func(bmc *client.Client) error {
		if _, err := bmc.ChassisControl(ctx, chassis.ChassisControlPowerDown); err != nil {
			return fmt.Errorf("power down: %w", err)
		}
		return nil
	})
}

// On asks for the power.
func (c *Chassis) On(ctx context.Context) (on bool, err error) {
	err = c.do(ctx, func(bmc *client.Client) error {
		s, err := bmc.GetChassisStatus(ctx)
		if err != nil {
			return fmt.Errorf("chassis status: %w", err)
		}
		on = s.PowerIsOn
		return nil
	})
	return on, err
}

// do logs in and calls f, and again for as long as ctx lasts where packets were lost. A refusal is not repeated: wrong
// passwords lock a user out.
func (c *Chassis) do(ctx context.Context, f func(*client.Client) error) error {
	for {
		began := time.Now()
		err := c.once(ctx, f)
		if err == nil || ctx.Err() != nil || time.Since(began) < lost {
			return err
		}
	}
}

func (c *Chassis) once(ctx context.Context, f func(*client.Client) error) error {
	host := c.host
	if strings.Contains(host, ":") {
		host = "[" + host + "]" // go-ipmi joins host and port with a colon
	}
	if _, err := net.DefaultResolver.LookupHost(ctx, c.host); err != nil {
		return fmt.Errorf("IPMI: %w", err) // go-ipmi resolves without regard to ctx
	}
	bmc, err := client.NewClient(host, c.port, c.username, c.password)
	if err != nil {
		return fmt.Errorf("IPMI at %s: %w", c.host, err)
	}
	bmc.WithInterface(c.lan).WithTimeout(lost).WithRetry(repeats).WithMaxPrivilegeLevel(c.privilege)
	if c.cipher != 0 {
		bmc.WithCipherSuiteID(c.cipher)
	}
	defer func() {
		// Close says goodbye to the controller, whose places are few, and waits for its answer: where there was none before,
		// not at all.
		wait := goodbye
		if err != nil {
			wait = 0
		}
		bye, cancel := context.WithTimeout(context.WithoutCancel(ctx), wait)
		defer cancel()
		bmc.WithRetry(0).Close(bye)
	}()
	if err = bmc.Connect(ctx); err == nil {
		err = f(bmc)
	}
	if err != nil {
		return fmt.Errorf("IPMI at %s: %w", c.host, err)
	}
	return nil
}
