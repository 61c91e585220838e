package vmware

import (
	"io"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/vmware/govmomi/simulator"
)

// TestTask: the order was taken when its task has ended well.
func TestTask(t *testing.T) {
	_, vm, p := vcsim(t, simulator.ESX())
	f, p := before(t, p)
	task := func(properties string) string {
		return `<returnval><obj type="Task">TASK</obj>` + properties + `</returnval>`
	}
	info := func(state string) string {
		return task(`<propSet><name>info.state</name><val xsi:type="TaskInfoState">` + state + `</val></propSet>`)
	}
	failed := task(`<propSet><name>info.error</name><val xsi:type="LocalizedMethodFault"><fault xsi:type="InvalidPowerState"/><localizedMessage>The attempted operation cannot be performed.</localizedMessage></val></propSet>` +
		`<propSet><name>info.state</name><val>error</val></propSet>`)
	for _, test := range []struct {
		answers []string
		want    string
	}{
		{[]string{info("queued"), info("running"), info("running"), info("success")}, ""},
		{[]string{info("running"), failed}, "power off " + vm.Name + ": The attempted operation cannot be performed. (InvalidPowerState)"},
		{[]string{info("error")}, "a fault without a message"},
		{[]string{info("lost")}, `the task's state "lost" is not known`},
		{[]string{task("")}, `the task's state "" is not known`},
		{[]string{""}, "does not answer about Task"},
	} {
		left := test.answers
		f.answer = func(w http.ResponseWriter, _ *http.Request, method, body string) bool {
			id := regexp.MustCompile(`<obj type="Task">([^<]*)`).FindStringSubmatch(body)
			if method == "PowerOffVM_Task" {
				io.WriteString(w, envelope(`<PowerOffVM_TaskResponse xmlns="urn:vim25"><returnval type="Task">haTask-1</returnval></PowerOffVM_TaskResponse>`))
				return true
			}
			if id == nil {
				return false
			}
			if len(left) == 0 {
				t.Error("asked after the end")
				return false
			}
			io.WriteString(w, properties(strings.ReplaceAll(left[0], "TASK", id[1])))
			left = left[1:]
			return true
		}
		err := open(t, p).Off(t.Context())
		if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
			t.Errorf("%v: %v; want %q", test.answers, err, test.want)
		}
		if len(left) != 0 {
			t.Errorf("%v: not asked for", left)
		}
	}
}
