package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"masthead/appliance/configuration"
	"masthead/vmtest"
	"masthead/vmtest/cluster"
)

// The lab files that are shipped, and the configurations of the clusters in them, are right.
func TestLabFiles(t *testing.T) {
	files, err := filepath.Glob("../../vmtest/*.yaml")
	if err != nil || len(files) < 3 {
		t.Fatalf("%v, %v", files, err)
	}
	placeholder := regexp.MustCompile(`\$\{(management\.[a-z0-9]+|mail)\}`)
	prober := regexp.MustCompile(regexp.QuoteMeta(cluster.ProberName))
	for _, file := range files {
		if strings.HasPrefix(filepath.Base(file), "head-") {
			continue // an image
		}
		config, err := vmtest.Load(file)
		if err != nil {
			t.Error(err)
			continue
		}
		text := prober.ReplaceAllString(config.Cluster, cluster.ProberAddress.String())
		if _, err := configuration.Parse(file, []byte(placeholder.ReplaceAllString(text, "10.0.2.2:1"))); err != nil {
			t.Error(err)
		}
	}
}

func TestChosen(t *testing.T) {
	all := cluster.Scenarios()
	if got, err := chosen(all, nil); err != nil || len(got) != len(all) {
		t.Errorf("%d of %d, %v", len(got), len(all), err)
	}
	if got, err := chosen(all, []string{"panic", "switch"}); err != nil || len(got) != 2 || got[0].Name != "switch" {
		t.Errorf("%+v, %v; want them in the order of the matrix", got, err)
	}
	if _, err := chosen(all, []string{"meteor"}); err == nil {
		t.Error("a scenario that there is not was taken")
	}
}

// A lab file that cannot become a cluster is refused before anything is switched on.
func TestLabUpLooksFirst(t *testing.T) {
	lab := filepath.Join(t.TempDir(), "lab.yaml")
	for text, want := range map[string]string{
		"{role: head, kernel: {image: /dev/null}}":                       ": machines.head1.forward: want {https: 443}, by which the head is reached\n",
		"{role: head, off: true, forward: {https: 443}}":                 ": machines: want 1 machine with role: head that comes up with the lab, got 0\n",
		"{role: hed, kernel: {image: /dev/null}, forward: {https: 443}}": ":3: machines.head1.role: \"hed\": want head or worker, or none\n",
	} {
		if err := os.WriteFile(lab, []byte("name: x\nmachines:\n  head1: "+text+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		_, stderr, code := invoke(t, "lab", "up", lab)
		want = "error: " + lab + want + "try: correct the file; vmtest/demo.yaml shows how it is done\n"
		if code != exitFailed || stderr != want {
			t.Errorf("exit code %d: %s, want %s", code, stderr, want)
		}
	}
}
