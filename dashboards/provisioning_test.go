package dashboards_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"gopkg.in/yaml.v3"
)

// scrapeConfig is what the tests read and change of provisioning/prometheus.yml.
type scrapeConfig struct {
	Global struct {
		ScrapeInterval string `yaml:"scrape_interval"`
	}
	ScrapeConfigs []struct {
		JobName       string `yaml:"job_name"`
		HonorLabels   bool   `yaml:"honor_labels"`
		StaticConfigs []struct {
			Targets []string
		} `yaml:"static_configs"`
	} `yaml:"scrape_configs"`
}

// decode reads a YAML file of provisioning; a key that into doesn't have is an
// error.
func decode(t *testing.T, path string, into any) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("provisioning", filepath.FromSlash(path)))
	if err != nil {
		t.Fatal(err)
	}
	d := yaml.NewDecoder(bytes.NewReader(text))
	d.KnownFields(true)
	if err := d.Decode(into); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
}

// program returns the path of a program from Debian's prometheus package, or
// skips the test.
func program(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Skipf("%s isn't installed (Debian: apt-get install prometheus): %v", name, err)
	}
	return path
}

func TestPromtoolAcceptsTheScrapeConfig(t *testing.T) {
	command := exec.CommandContext(t.Context(), program(t, "promtool"), "check", "config", "provisioning/prometheus.yml")
	if output, err := command.CombinedOutput(); err != nil {
		t.Errorf("promtool check config: %v\n%s", err, output)
	}
}

func TestProvisioningFitsTogether(t *testing.T) {
	var prometheus scrapeConfig
	decode(t, "prometheus.yml", &prometheus)
	if n := len(prometheus.ScrapeConfigs); n != 1 {
		t.Fatalf("got %d scrape configs, want 1", n)
	}
	job := prometheus.ScrapeConfigs[0]
	if len(job.StaticConfigs) != 1 || len(job.StaticConfigs[0].Targets) != 1 || job.StaticConfigs[0].Targets[0] != "127.0.0.1:8010" {
		t.Errorf("scraped are %v, want 127.0.0.1:8010, where weir up serves its metrics", job.StaticConfigs)
	}

	var sources struct {
		APIVersion  int `yaml:"apiVersion"`
		Datasources []struct {
			Name, UID, Type, Access, URL string
			IsDefault                    bool `yaml:"isDefault"`
			JSONData                     struct {
				TimeInterval string `yaml:"timeInterval"`
				HTTPMethod   string `yaml:"httpMethod"`
				Exemplars    []struct {
					Name          string
					DatasourceUID string `yaml:"datasourceUid"`
				} `yaml:"exemplarTraceIdDestinations"`
			} `yaml:"jsonData"`
		}
	}
	decode(t, "grafana/datasources/weir.yaml", &sources)
	types := make(map[string]string)
	for _, s := range sources.Datasources {
		types[s.UID] = s.Type
	}
	if len(sources.Datasources) == 0 || sources.Datasources[0].Type != chosenDatasource.Type || !sources.Datasources[0].IsDefault {
		t.Fatalf("the first data source is not a default one of type %s: %+v", chosenDatasource.Type, sources.Datasources)
	}
	metrics := sources.Datasources[0].JSONData
	if got, want := metrics.TimeInterval, prometheus.Global.ScrapeInterval; got != want {
		t.Errorf("Grafana believes in a scrape interval of %q, Prometheus scrapes every %q", got, want)
	}
	if len(metrics.Exemplars) != 1 || metrics.Exemplars[0].Name != "trace_id" || types[metrics.Exemplars[0].DatasourceUID] != "jaeger" {
		t.Errorf("exemplars lead to %+v, want the label trace_id to lead to Jaeger", metrics.Exemplars)
	}

	var folders struct {
		APIVersion int `yaml:"apiVersion"`
		Providers  []struct {
			Name, Folder, Type    string
			UpdateIntervalSeconds int  `yaml:"updateIntervalSeconds"`
			AllowUIUpdates        bool `yaml:"allowUiUpdates"`
			Options               struct{ Path string }
		}
	}
	decode(t, "grafana/dashboards/weir.yaml", &folders)
	if len(folders.Providers) != 1 || folders.Providers[0].Type != "file" || folders.Providers[0].Options.Path != "$WEIR_DASHBOARDS" {
		t.Errorf("dashboards come from %+v, want the folder $WEIR_DASHBOARDS", folders.Providers)
	}
}
