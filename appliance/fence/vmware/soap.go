package vmware

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode"
)

// namespace is that of every method and type since VirtualCenter 2.5.
const namespace = "urn:vim25"

const (
	head = xml.Header + `<Envelope xmlns="http://schemas.xmlsoap.org/soap/envelope/" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"><Body>`
	tail = `</Body></Envelope>`
)

// encode is the envelope that calls method. The fields of arguments stand in the order of VMware's schema: a server takes
// no other.
func encode(method string, arguments any) ([]byte, error) {
	var b bytes.Buffer
	b.WriteString(head)
	if err := xml.NewEncoder(&b).EncodeElement(arguments, xml.StartElement{Name: xml.Name{Space: namespace, Local: method}}); err != nil {
		return nil, err
	}
	b.WriteString(tail)
	return b.Bytes(), nil
}

// decode reads the answer to method: its values, of which there can be none, or its fault as an error.
func decode[T any](r io.Reader, method string) ([]T, error) {
	var e struct {
		XMLName xml.Name `xml:"http://schemas.xmlsoap.org/soap/envelope/ Envelope"`
		Body    struct {
			Fault   *fault `xml:"http://schemas.xmlsoap.org/soap/envelope/ Fault"`
			Answers []struct {
				XMLName xml.Name
				Values  []T `xml:"returnval"`
			} `xml:",any"`
		} `xml:"http://schemas.xmlsoap.org/soap/envelope/ Body"`
	}
	if err := xml.NewDecoder(r).Decode(&e); err != nil {
		return nil, fmt.Errorf("not an answer of VMware: %w", err)
	}
	if e.Body.Fault != nil {
		return nil, e.Body.Fault
	}
	if a := e.Body.Answers; len(a) == 1 && a[0].XMLName == (xml.Name{Space: namespace, Local: method + "Response"}) {
		return a[0].Values, nil
	}
	return nil, errors.New("not the answer to this call")
}

// fault is a SOAP fault: the server has refused a call.
type fault struct {
	Text   string `xml:"faultstring"`
	Detail struct {
		Faults []typed `xml:",any"`
	} `xml:"detail"`
}

func (f *fault) Error() string {
	var kind typed
	if len(f.Detail.Faults) > 0 {
		kind = f.Detail.Faults[0]
	}
	return describe(f.Text, kind)
}

// localized is VMware's LocalizedMethodFault: why a task has failed, or a property cannot be had.
type localized struct {
	Fault   typed  `xml:"fault"`
	Message string `xml:"localizedMessage"`
}

func (l localized) Error() string { return describe(l.Message, l.Fault) }

// typed is an element of which only the type matters.
type typed struct {
	Type string `xml:"http://www.w3.org/2001/XMLSchema-instance type,attr"`
}

// name is the type without the prefix of its namespace.
func (t typed) name() string { return t.Type[strings.LastIndexByte(t.Type, ':')+1:] }

// describe is a server's message with the fault's name, by which it is found in VMware's reference whatever the language of
// the message.
func describe(message string, kind typed) string {
	text, name := line(message, 300), line(kind.name(), 80)
	switch {
	case text == "" && name == "":
		return "a fault without a message"
	case name == "":
		return text
	case text == "":
		return name
	}
	return text + " (" + name + ")"
}

// line is what a server has sent as one line of at most so many characters, without what a terminal would obey.
func line(s string, most int) string {
	words := strings.FieldsFunc(s, func(r rune) bool { return r == unicode.ReplacementChar || !unicode.IsGraphic(r) || unicode.IsSpace(r) })
	return fmt.Sprintf("%.*s", most, strings.Join(words, " "))
}

// ref is a managed object reference.
type ref struct {
	Type string `xml:"type,attr"`
	ID   string `xml:",chardata"`
}

// UnmarshalXML is needed since encoding/xml would also take xsi:type for the attribute type.
func (r *ref) UnmarshalXML(d *xml.Decoder, start xml.StartElement) error {
	for _, a := range start.Attr {
		if a.Name == (xml.Name{Local: "type"}) {
			r.Type = a.Value
		}
	}
	return d.DecodeElement(&r.ID, &start)
}
