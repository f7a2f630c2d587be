package proxy

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"
)

// maxConfigBytes bounds a configuration file; a thousand instances need 100 KB.
const maxConfigBytes = 4 << 20

// ParseConfig reads a configuration file, YAML, and validates it. The error
// joins all problems; each names the line and the key, also that of a key that
// is unknown.
func ParseConfig(data []byte) (Config, error) {
	if len(data) > maxConfigBytes {
		return Config{}, fmt.Errorf("configuration has %d bytes, more than %d", len(data), maxConfigBytes)
	}
	var config Config
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	decoder.KnownFields(true)
	err := decoder.Decode(&config)
	if errors.Is(err, io.EOF) {
		return Config{}, errors.New("configuration is empty")
	}
	var problems []error
	var typeError *yaml.TypeError
	switch {
	case errors.As(err, &typeError):
		for _, text := range typeError.Errors {
			problems = append(problems, errors.New(plainYAML(text)))
		}
	case err != nil:
		return Config{}, fmt.Errorf("configuration is not YAML: %w", err)
	}
	if decoder.Decode(new(yaml.Node)) != io.EOF {
		problems = append(problems, errors.New("there is more than one YAML document"))
	}
	var root yaml.Node
	if err := yaml.Unmarshal(data, &root); err != nil {
		return Config{}, fmt.Errorf("configuration is not YAML: %w", err)
	}
	lines := make(map[string]int)
	locate(&root, "", lines)
	for _, p := range config.problems() {
		p.line = lineOf(p.key, lines)
		problems = append(problems, p)
	}
	if len(problems) > 0 {
		return Config{}, errors.Join(problems...)
	}
	return config, nil
}

var unknownField = regexp.MustCompile(`^line (\d+): field (\S+) not found in type .*$`)

// plainYAML rewrites yaml's complaint about a field of a Go type as one about a
// key of a file.
func plainYAML(text string) string {
	m := unknownField.FindStringSubmatch(text)
	if m == nil {
		return text
	}
	why := ""
	if strings.HasPrefix(m[2], "s3_") {
		why = ": reading tokens from S3 is not supported yet; copy the map to a file and name it with path"
	}
	return fmt.Sprintf("line %s: unknown key %q%s", m[1], m[2], why)
}

// A problem is something wrong with a configuration.
type problem struct {
	key  string // as listen_addresses[0].addr
	line int    // 0 if the configuration isn't from a file
	text string
}

func (p *problem) Error() string {
	if p.line == 0 {
		return p.key + ": " + p.text
	}
	return fmt.Sprintf("line %d: %s: %s", p.line, p.key, p.text)
}

// locate records the line of every key below node, which is at key.
func locate(node *yaml.Node, key string, lines map[string]int) {
	switch node.Kind {
	case yaml.DocumentNode:
		for _, child := range node.Content {
			locate(child, key, lines)
		}
	case yaml.MappingNode:
		for i := 0; i+1 < len(node.Content); i += 2 {
			child := node.Content[i].Value
			if key != "" {
				child = key + "." + child
			}
			lines[child] = node.Content[i].Line
			locate(node.Content[i+1], child, lines)
		}
	case yaml.SequenceNode:
		for i, element := range node.Content {
			child := key + "[" + strconv.Itoa(i) + "]"
			lines[child] = element.Line
			locate(element, child, lines)
		}
	}
}

// lineOf returns the line of a key, or of the nearest key around it if it isn't
// in the file: what is missing is missing there.
func lineOf(key string, lines map[string]int) int {
	for key != "" {
		if line, ok := lines[key]; ok {
			return line
		}
		key = key[:max(strings.LastIndexAny(key, ".["), 0)]
	}
	return 1
}
