// Package redfishtest is a small management controller for tests: the parts of Redfish that switch a machine, as DSP0266
// and the schema of ComputerSystem have them, with faults on demand.
package redfishtest

import (
	"encoding/json"
	"net/http"
	"path"
	"slices"
	"sync"
)

// Controller is an http.Handler. Its fields may be changed with Set while it serves.
type Controller struct {
	Username, Password string

	mu       sync.Mutex
	machines []Machine
	orders   []string
}

// Machine is one computer system.
type Machine struct {
	ID, Name string
	Power    string // On, Off, PoweringOff, …
	Stuck    bool   // takes orders and does not follow them
}

// New is a controller of machines.
func New(username, password string, machines ...Machine) *Controller {
	return &Controller{Username: username, Password: password, machines: machines}
}

// Set changes the machine with that id.
func (c *Controller) Set(id string, f func(*Machine)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	i := slices.IndexFunc(c.machines, func(m Machine) bool { return m.ID == id })
	f(&c.machines[i])
}

// Orders are the resets that were asked for so far, as "ID ForceOff".
func (c *Controller) Orders() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.orders)
}

type object map[string]any

func link(to string) object { return object{"@odata.id": to} }

const systems = "/redfish/v1/Systems"

func (c *Controller) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	p := path.Clean(r.URL.Path)
	if p == "/redfish/v1" {
		answer(w, object{
			"@odata.id": "/redfish/v1/", "@odata.type": "#ServiceRoot.v1_15_0.ServiceRoot", "Id": "RootService", "Name": "Root Service",
			"RedfishVersion": "1.15.0", "Systems": link(systems),
		})
		return
	}
	if user, password, ok := r.BasicAuth(); !ok || user != c.Username || password != c.Password {
		http.Error(w, `{"error": {"code": "Base.1.0.AccessDenied", "message": "who are you"}}`, http.StatusUnauthorized)
		return
	}
	if p == systems {
		var members []object
		for _, m := range c.machines {
			members = append(members, link(systems+"/"+m.ID))
		}
		answer(w, object{"@odata.id": p, "@odata.type": "#ComputerSystemCollection.ComputerSystemCollection", "Name": "Systems", "Members@odata.count": len(members), "Members": members})
		return
	}
	for i := range c.machines {
		m := &c.machines[i]
		self := systems + "/" + m.ID
		reset := self + "/Actions/ComputerSystem.Reset"
		switch p {
		case self:
			answer(w, object{
				"@odata.id": self, "@odata.type": "#ComputerSystem.v1_20_0.ComputerSystem", "Id": m.ID, "Name": m.Name, "PowerState": m.Power,
				"Actions": object{"#ComputerSystem.Reset": object{
					"target": reset, "ResetType@Redfish.AllowableValues": []string{"On", "ForceOff", "ForceRestart", "GracefulShutdown"},
				}},
			})
			return
		case reset:
			c.reset(w, r, m)
			return
		}
	}
	http.NotFound(w, r)
}

func (c *Controller) reset(w http.ResponseWriter, r *http.Request, m *Machine) {
	var order struct{ ResetType string }
	if r.Method != http.MethodPost || json.NewDecoder(r.Body).Decode(&order) != nil {
		http.Error(w, `{"error": {"code": "Base.1.0.MalformedJSON", "message": "no order"}}`, http.StatusBadRequest)
		return
	}
	c.orders = append(c.orders, m.ID+" "+order.ResetType)
	to, known := map[string]string{"ForceOff": "Off", "On": "On"}[order.ResetType]
	switch {
	case !known, to == m.Power: // as many controllers do
		http.Error(w, `{"error": {"code": "Base.1.0.ActionNotSupported", "message": "not in this state"}}`, http.StatusConflict)
		return
	case !m.Stuck:
		m.Power = to
	}
	w.WriteHeader(http.StatusNoContent)
}

func answer(w http.ResponseWriter, o object) {
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(o)
}
