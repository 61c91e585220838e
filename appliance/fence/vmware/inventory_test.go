package vmware

import (
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/vmware/govmomi/find"
	"github.com/vmware/govmomi/property"
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/types"
)

// TestFind: of all machines of two datacenters exactly the one that is meant is switched off, or none.
func TestFind(t *testing.T) {
	model := simulator.VPX()
	model.Datacenter, model.App = 2, 1
	model, _, p := vcsim(t, model)
	i := inventory{t, model}
	i.rename("DC0_H0_VM1", `a*b?[c]\d`)
	i.rename("DC0_C0_RP0_VM0", `<head & "1">`)
	i.rename("DC0_C0_RP0_VM1", "VM:1 ä")
	i.move("DC1_H0_VM0", "/DC1/vm", "old")
	i.rename("DC1_H0_VM1", "twin")
	i.rename("DC1_C0_RP0_VM0", "twin")
	i.move("DC1_C0_RP0_VM0", "/DC1/vm", "new")
	i.rename("DC1_C0_RP0_VM1", "new") // as a folder
	i.intoApp("DC0_C0_APP0_VM0", "DC0_C0_APP0")

	const several, severalDatacenters, none = "several virtual machines", "there are several datacenters", "not found"
	for _, test := range []struct {
		plug, datacenter string
		want             string // the machine as the simulator has named it first, or what the error says
	}{
		{"DC0_H0_VM0", "DC0", "DC0_H0_VM0"},
		{"DC0_H0_VM0", "/DC0", "DC0_H0_VM0"},
		{"DC0_H0_VM0", "", severalDatacenters},
		{"DC0_H0_VM0", "DC1", none},
		{"DC0_H0_VM0", "DC2", none},
		{"DC0_H0_VM0", "vm", none}, // not a datacenter
		{"dc0_h0_vm0", "DC0", none},
		{"DC0_H0_VM", "DC0", none},
		{"DC0_H0", "DC0", none}, // a host
		{"vm", "DC0", none},     // a folder
		{"/DC0/vm/DC0_H0_VM0", "", "DC0_H0_VM0"},
		{"/DC0/vm/DC0_H0_VM0", "DC1", "DC0_H0_VM0"},
		{"/DC0//vm/./DC0_H0_VM0/", "", "DC0_H0_VM0"},
		{"/DC0/host/DC0_H0/DC0_H0/DC0_H0_VM0", "", "DC0_H0_VM0"},
		{"/DC0/DC0_H0_VM0", "", none},
		{"/DC0_H0_VM0", "", none},
		{"/DC0/vm", "", none},
		{"/", "", none},
		{"/DC0/vm/DC0_H0_VM0/DC0_H0_VM0", "", none},

		{`a*b?[c]\d`, "DC0", "DC0_H0_VM1"},
		{`/DC0/vm/a*b?[c]\d`, "", "DC0_H0_VM1"},
		{"a*", "DC0", none},
		{"*", "DC0", none},
		{"[a]*", "DC0", none},
		{"/DC0/vm/*", "", none},
		{"/DC?/vm/DC0_H0_VM0", "", none},
		{"/DC0/vm/...", "", none},
		{`<head & "1">`, "DC0", "DC0_C0_RP0_VM0"},
		{`/DC0/vm/<head & "1">`, "", "DC0_C0_RP0_VM0"},
		{`<head &amp; "1">`, "DC0", none},
		{"VM:1 ä", "DC0", "DC0_C0_RP0_VM1"},

		{"DC1_H0_VM0", "DC1", "DC1_H0_VM0"}, // in a folder
		{"old/DC1_H0_VM0", "DC1", "DC1_H0_VM0"},
		{"vm/old/DC1_H0_VM0", "DC1", none}, // begins in the folder vm
		{"new/DC1_H0_VM0", "DC1", none},
		{"twin", "DC1", several},
		{"/DC1/vm/twin", "", "DC1_H0_VM1"},
		{"./twin", "DC1", "DC1_H0_VM1"},
		{"/DC1/vm/new/twin", "", "DC1_C0_RP0_VM0"},
		{"new/twin", "DC1", "DC1_C0_RP0_VM0"},
		{"new", "DC1", "DC1_C0_RP0_VM1"},
		{"/DC1/vm/new", "", "DC1_C0_RP0_VM1"},

		{"DC0_C0_APP0_VM0", "DC0", "DC0_C0_APP0_VM0"},
		{"/DC0/vm/DC0_C0_APP0/DC0_C0_APP0_VM0", "", "DC0_C0_APP0_VM0"},
		{"/DC0/vm/DC0_C0_APP0_VM0", "", none},
	} {
		t.Run(test.plug+" in "+test.datacenter, func(t *testing.T) {
			m := open(t, p, "plug", test.plug, "datacenter", test.datacenter)
			want := []string{test.want}
			if slices.Contains([]string{several, severalDatacenters, none}, test.want) {
				want = nil
			}
			_, onErr := m.On(t.Context())
			err := m.Off(t.Context())
			if want == nil && (err == nil || onErr == nil || !strings.Contains(err.Error(), test.want)) {
				t.Errorf("On: %v; Off: %v; want %q", onErr, err, test.want)
			}
			if want != nil && (err != nil || onErr != nil) {
				t.Errorf("On: %v; Off: %v", onErr, err)
			}
			if diff := cmp.Diff(want, i.off()); diff != "" {
				t.Errorf("off (-want +got):\n%s", diff)
			}
		})
	}
}

// TestOneDatacenter: where there is no other, it need not be named.
func TestOneDatacenter(t *testing.T) {
	model := simulator.VPX()
	model.Folder = 1 // the datacenter is in a folder, and its machines are in one
	model, vm, p := vcsim(t, model)
	for _, m := range []*Machine{
		open(t, p), open(t, p, "datacenter", "DC0"), open(t, p, "datacenter", "/F0/DC0"), open(t, p, "datacenter", "F0/DC0"),
		open(t, p, "plug", "/F0/DC0/vm/F0/"+vm.Name), open(t, p, "plug", "F0/"+vm.Name),
	} {
		if err := m.Off(t.Context()); err != nil {
			t.Errorf("%s in %s: %v", m.plug, m.datacenter, err)
		}
		if diff := cmp.Diff([]string{vm.Name}, inventory{t, model}.off()); diff != "" {
			t.Errorf("%s in %s: off (-want +got):\n%s", m.plug, m.datacenter, diff)
		}
	}
}

// TestListing: what a server can say of its inventory that the simulator does not.
func TestListing(t *testing.T) {
	_, vm, p := vcsim(t, simulator.ESX())
	f, p := before(t, p)
	entity := func(id, name string) string {
		return `<returnval><obj type="VirtualMachine">` + id + `</obj><propSet><name>name</name><val xsi:type="xsd:string">` + name + `</val></propSet></returnval>`
	}
	missing := func(fault string) string {
		return `<returnval><obj type="VirtualMachine">vm-9</obj><missingSet><path>name</path><fault><fault xsi:type="` + fault + `"/><localizedMessage>Gone.</localizedMessage></fault></missingSet></returnval>`
	}
	found := func(kind, id string) string { return `<returnval type="` + kind + `">` + id + `</returnval>` }
	self := vm.Self.Value
	for _, test := range []struct {
		plug, answer string // to FindAllByUuid, or to what asks for the machines of the folder
		want         string
	}{
		{"", entity(self, vm.Name), ""},
		{"", missing("ManagedObjectNotFound") + entity(self, vm.Name), ""}, // removed meanwhile
		{"", missing("NoPermission") + entity(self, vm.Name), `property "name" of "vm-9": Gone. (NoPermission)`},
		{"", entity(self, vm.Name) + entity(self, vm.Name), ""}, // one machine, told twice
		{"", entity(self, vm.Name) + entity("vm-9", vm.Name), "several virtual machines"},
		{"", "", "not found"},
		{vm.Config.Uuid, found("VirtualMachine", self), ""},
		{vm.Config.Uuid, found("HostSystem", self), "no virtual machine has this UUID"},
		{vm.Config.Uuid, found("VirtualMachine", self) + found("VirtualMachine", "vm-9"), "several virtual machines have this UUID"},
		{vm.Config.Uuid, "", "no virtual machine has this UUID"},
	} {
		method := map[bool]string{true: "RetrieveProperties", false: "FindAllByUuid"}[test.plug == ""]
		f.answer = func(w http.ResponseWriter, _ *http.Request, m, body string) bool {
			if m != method || m == "RetrieveProperties" && !strings.Contains(body, "<path>childEntity</path>") || strings.Contains(body, ">ha-folder-root<") {
				return false
			}
			io.WriteString(w, envelope(`<`+m+`Response xmlns="urn:vim25">`+test.answer+`</`+m+`Response>`))
			return true
		}
		plugs := []string{test.plug}
		if test.plug == "" {
			plugs = []string{vm.Name, "/ha-datacenter/vm/" + vm.Name}
		}
		for _, plug := range plugs {
			on, err := open(t, p, "plug", plug).On(t.Context())
			if test.want == "" && (!on || err != nil) || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
				t.Errorf("%s: %s: on %v, %v; want %q", plug, test.answer, on, err, test.want)
			}
		}
	}
}

// inventory is what an administrator does with the simulator's inventory.
type inventory struct {
	t     *testing.T
	model *simulator.Model
}

func (i inventory) client() *vim25.Client {
	i.t.Helper()
	c, err := vim25.NewClient(i.t.Context(), i.model.Service)
	if err != nil {
		i.t.Fatal(err)
	}
	return c
}

func (i inventory) machines() (vms []*simulator.VirtualMachine) {
	for _, e := range i.model.Map().All("VirtualMachine") {
		vms = append(vms, e.(*simulator.VirtualMachine))
	}
	return vms
}

// machine is the one that the simulator has made by that name.
func (i inventory) machine(was string) *simulator.VirtualMachine {
	i.t.Helper()
	for _, vm := range i.machines() {
		if vm.Config.Name == was {
			return vm
		}
	}
	i.t.Fatalf("no machine %s", was)
	return nil
}

// rename gives a machine another name; that another has it already is no matter.
func (i inventory) rename(was, name string) {
	i.t.Helper()
	i.model.Map().Update(i.model.Service.Context, i.machine(was), []types.PropertyChange{{Name: "name", Val: name}})
}

// move puts a machine into a new folder of parent.
func (i inventory) move(was, parent, folder string) {
	i.t.Helper()
	f, err := find.NewFinder(i.client(), false).Folder(i.t.Context(), parent)
	if err != nil {
		i.t.Fatal(err)
	}
	f, err = f.CreateFolder(i.t.Context(), folder)
	if err != nil {
		i.t.Fatal(err)
	}
	task, err := f.MoveInto(i.t.Context(), []types.ManagedObjectReference{i.machine(was).Self})
	if err == nil {
		err = task.WaitEx(i.t.Context())
	}
	if err != nil {
		i.t.Fatal(err)
	}
}

// intoApp takes a machine out of its folder, as vCenter does with those of a virtual application; the simulator leaves
// them there.
func (i inventory) intoApp(was, app string) {
	i.t.Helper()
	a := i.model.Map().FindByName(app, refs(i.model.Map().All("VirtualApp"))).(*simulator.VirtualApp)
	vm := i.machine(was)
	if !slices.Contains(a.Vm, vm.Self) {
		i.t.Fatalf("%s is not in %s", was, app)
	}
	f := i.model.Map().Get(*a.ParentFolder).(*simulator.Folder)
	in := slices.DeleteFunc(slices.Clone(f.ChildEntity), func(r types.ManagedObjectReference) bool { return r == vm.Self })
	i.model.Map().Update(i.model.Service.Context, f, []types.PropertyChange{{Name: "childEntity", Val: append(in, a.Self)}})
}

// logins are how many are logged in.
func (i inventory) logins() int {
	i.t.Helper()
	c := i.client()
	var m mo.SessionManager
	if err := property.DefaultCollector(c).RetrieveOne(i.t.Context(), *c.ServiceContent.SessionManager, []string{"sessionList"}, &m); err != nil {
		i.t.Fatal(err)
	}
	return len(m.SessionList)
}

func refs[E interface {
	Reference() types.ManagedObjectReference
}](all []E) (out []types.ManagedObjectReference) {
	for _, e := range all {
		out = append(out, e.Reference())
	}
	return out
}

// off are the machines that are off, by their first names; it switches them on again.
func (i inventory) off() (names []string) {
	for _, vm := range i.machines() {
		if vm.Runtime.PowerState == types.VirtualMachinePowerStatePoweredOn {
			continue
		}
		names = append(names, vm.Config.Name)
		i.model.Map().Update(i.model.Service.Context, vm, []types.PropertyChange{{Name: "runtime.powerState", Val: types.VirtualMachinePowerStatePoweredOn}})
	}
	slices.Sort(names)
	return names
}
