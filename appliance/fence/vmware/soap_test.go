package vmware

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

func TestEncode(t *testing.T) {
	const head = `<?xml version="1.0" encoding="UTF-8"?>` + "\n" +
		`<Envelope xmlns="http://schemas.xmlsoap.org/soap/envelope/" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"><Body>`
	for _, test := range []struct {
		method    string
		arguments any
		want      string
	}{
		{
			"PowerOffVM_Task", struct {
				This ref `xml:"_this"`
			}{ref{"VirtualMachine", `1"><2`}},
			`<PowerOffVM_Task xmlns="urn:vim25"><_this type="VirtualMachine">1&#34;&gt;&lt;2</_this></PowerOffVM_Task>`,
		},
		{
			"RetrieveProperties", struct {
				This   ref    `xml:"_this"`
				Filter filter `xml:"specSet"`
			}{ref{"PropertyCollector", "pc"}, filter{
				Type: "ManagedEntity", Names: []string{"name", "<&>"}, Object: ref{"Datacenter", "dc-1"}, Skip: true,
				Steps: []forward{{Kind: "TraversalSpec", Type: "Datacenter", Path: "vmFolder"}, {Kind: "TraversalSpec", Type: "Datacenter", Path: "hostFolder"}},
			}},
			// The order is that of PropertyFilterSpec, PropertySpec, ObjectSpec and TraversalSpec in vim-types.xsd.
			`<RetrieveProperties xmlns="urn:vim25"><_this type="PropertyCollector">pc</_this><specSet>` +
				`<propSet><type>ManagedEntity</type><pathSet>name</pathSet><pathSet>&lt;&amp;&gt;</pathSet></propSet>` +
				`<objectSet><obj type="Datacenter">dc-1</obj><skip>true</skip>` +
				`<selectSet xsi:type="TraversalSpec"><type>Datacenter</type><path>vmFolder</path><skip>false</skip></selectSet>` +
				`<selectSet xsi:type="TraversalSpec"><type>Datacenter</type><path>hostFolder</path><skip>false</skip></selectSet>` +
				`</objectSet></specSet></RetrieveProperties>`,
		},
	} {
		got, err := encode(test.method, test.arguments)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(head+test.want+"</Body></Envelope>", string(got)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", test.method, diff)
		}
	}
}

// envelope is an answer in the way of vCenter.
func envelope(body string) string {
	return `<?xml version="1.0" encoding="UTF-8"?>
<soapenv:Envelope xmlns:soapenc="http://schemas.xmlsoap.org/soap/encoding/" xmlns:soapenv="http://schemas.xmlsoap.org/soap/envelope/" xmlns:xsd="http://www.w3.org/2001/XMLSchema" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">
<soapenv:Body>
` + body + `
</soapenv:Body>
</soapenv:Envelope>`
}

func soapFault(kind, text string) string {
	return envelope(`<soapenv:Fault><faultcode>ServerFaultCode</faultcode><faultstring>` + text + `</faultstring><detail><` + kind + `Fault xmlns="urn:vim25" xsi:type="` + kind + `"></` + kind + `Fault></detail></soapenv:Fault>`)
}

func properties(objects string) string {
	return envelope(`<RetrievePropertiesResponse xmlns="urn:vim25">` + objects + `</RetrievePropertiesResponse>`)
}

const state = `<returnval><obj type="VirtualMachine" xsi:type="ManagedObjectReference">vm-42</obj>` +
	`<propSet><name>runtime.powerState</name><val xsi:type="VirtualMachinePowerState">poweredOff</val></propSet>` +
	`<propSet><name>info.error</name><val xsi:type="LocalizedMethodFault"><fault xsi:type="vim25:InvalidState"/><localizedMessage>No.</localizedMessage></val></propSet>` +
	`<missingSet><path>name</path><fault><fault xsi:type="NoPermission"><object type="Folder">f</object></fault><localizedMessage></localizedMessage></fault></missingSet></returnval>`

func TestDecode(t *testing.T) {
	for _, test := range []struct{ name, answer, want string }{
		{"objects", properties(state + `<returnval><obj type="Task">task-1</obj></returnval>`), "VirtualMachine vm-42: runtime.powerState=poweredOff info.error=No. (InvalidState) name!NoPermission; Task task-1:"},
		{"no objects", properties(""), ""},
		{"fault", soapFault("NotAuthenticated", "The login is\n not\x7f authenticated.\u202e"), "error: The login is not authenticated. (NotAuthenticated)"},
		{"fault without anything", envelope(`<soapenv:Fault/>`), "error: a fault without a message"},
		{"long fault", soapFault("", strings.Repeat("ä", 1000)), "error: " + strings.Repeat("ä", 300)},
		{"fault beside an answer", envelope(`<soapenv:Fault><faultstring>no</faultstring></soapenv:Fault><RetrievePropertiesResponse xmlns="urn:vim25">` + state + `</RetrievePropertiesResponse>`), "error: no"},
		{"another answer", envelope(`<LoginResponse xmlns="urn:vim25"/>`), "error: not the answer to this call"},
		{"another namespace", envelope(`<RetrievePropertiesResponse xmlns="urn:vim2">` + state + `</RetrievePropertiesResponse>`), "error: not the answer to this call"},
		{"two answers", envelope(strings.Repeat(`<RetrievePropertiesResponse xmlns="urn:vim25"/>`, 2)), "error: not the answer to this call"},
		{"no answer", envelope(""), "error: not the answer to this call"},
		{"nothing", "", "error: not an answer of VMware: EOF"},
		{"a page", "<!DOCTYPE html><html><body>poweredOff</body></html>", "error: not an answer of VMware: expected element type <Envelope> but have <html>"},
		{"text", "poweredOff", "error: not an answer of VMware: EOF"},
		{"JSON", `{"powerState": "poweredOff"}`, "error: not an answer of VMware: EOF"},
		{"cut off", properties(state)[:700], "error: not an answer of VMware: XML syntax error on line 4: unexpected EOF"},
		{"an entity", properties(`<returnval><obj type="&x;"/></returnval>`), "error: not an answer of VMware: XML syntax error on line 4: invalid character entity &x;"},
	} {
		got := ""
		objects, err := decode[object](strings.NewReader(test.answer), "RetrieveProperties")
		if err != nil {
			got = "error: " + err.Error()
		}
		for i, o := range objects {
			if i > 0 {
				got += "; "
			}
			got += o.Ref.Type + " " + o.Ref.ID + ":"
			for _, p := range o.Properties {
				got += " " + p.Name + "=" + p.Value.Text
				if p.Value.Message != "" {
					got += p.Value.Error()
				}
			}
			for _, m := range o.Missing {
				got += " " + m.Name + "!" + m.Why.Error()
			}
		}
		if diff := cmp.Diff(test.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", test.name, diff)
		}
	}
}

// FuzzDecode: whatever a machine sends, there are values or an error, and the error is one short line.
func FuzzDecode(f *testing.F) {
	for _, seed := range []string{
		properties(state), soapFault("InvalidLogin", "no"), properties(""), "<a", "",
		envelope(`<RetrieveServiceContentResponse xmlns="urn:vim25"><returnval><rootFolder type="Folder">group-d1</rootFolder></returnval></RetrieveServiceContentResponse>`),
		envelope(`<FindAllByUuidResponse xmlns="urn:vim25"><returnval type="VirtualMachine">vm-1</returnval></FindAllByUuidResponse>`),
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, answer string) {
		objects, err := decode[object](strings.NewReader(answer), "RetrieveProperties")
		check(t, len(objects), err)
		for _, o := range objects {
			for _, p := range o.Properties {
				check(t, 0, p.Value)
			}
			for _, m := range o.Missing {
				check(t, 0, m.Why)
			}
		}
		services, err := decode[service](strings.NewReader(answer), "RetrieveServiceContent")
		check(t, len(services), err)
		machines, err := decode[ref](strings.NewReader(answer), "FindAllByUuid")
		check(t, len(machines), err)
	})
}

func check(t *testing.T, values int, err error) {
	t.Helper()
	if err == nil {
		return
	}
	if values > 0 {
		t.Errorf("%d values, and %v", values, err)
	}
	text := err.Error()
	if _, parser := strings.CutPrefix(text, "not an answer of VMware: "); parser {
		return // the text is encoding/xml's
	}
	if text == "" || strings.ContainsAny(text, "\r\n\x1b\x00") || utf8.RuneCountInString(text) > 400 {
		t.Errorf("error %q", text)
	}
}
