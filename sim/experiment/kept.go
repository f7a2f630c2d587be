package experiment

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// Kept is where finished runs are kept, so that an experiment which was interrupted goes on
// from there. A run is read only if all that it follows from is the same: the scenario's text,
// its seed and duration, the variant, what is measured and how, and the program.
type Kept struct {
	// Folder is made if need be; empty keeps nothing. Each point has a folder in it, named
	// by its key, with a JSON file for each run.
	Folder string
	// Text is the scenario file. What of the scenario was changed since it was read, other
	// than seed and duration, must be in the variants, or added to it.
	Text []byte
	// Version says which program it is. Runs of another are made again.
	Version string
}

// kept is a file: what it is of, and the run.
type kept struct {
	Key string          `json:"key"`
	Run json.RawMessage `json:"run"`
}

// warmupFile is what was found of the warm-up of a point.
const warmupFile = "warmup.json"

func runFile(number int) string { return fmt.Sprintf("run-%d.json", number) }

// key names a point, and with its warm-up the runs of it.
func (x *Experiment) key(p *Point, runs bool) string {
	h := sha256.New()
	for _, part := range []any{
		"weir experiment 1", x.Kept.Version, x.Kept.Text, x.Scenario.Name, x.Scenario.Seed, x.Scenario.Duration,
		p.Variant, x.Steady, x.Measures, runs, p.Duration, p.Warmup,
	} {
		// JSON ends a part where the next begins, whatever is in them.
		text, err := json.Marshal(part)
		if err != nil {
			panic("key: " + err.Error()) // of words and numbers there is no such error
		}
		h.Write(text)
	}
	return hex.EncodeToString(h.Sum(nil))
}

// folderDigits is how much of the key names a folder: among a million points two of them
// share one with a chance of 1 in 10^7, and then the file says which it is of.
const folderDigits = 16

// read reads a file into v; false if there is none that can be used.
func (k *Kept) read(key, file string, v any) bool {
	if k.Folder == "" {
		return false
	}
	data, err := os.ReadFile(filepath.Join(k.Folder, key[:folderDigits], file))
	if err != nil {
		return false
	}
	// What can't be read was cut off, or is another program's: it is made again.
	var found kept
	return json.Unmarshal(data, &found) == nil && found.Key == key && json.Unmarshal(found.Run, v) == nil
}

// write writes a file, whole or not at all.
func (k *Kept) write(key, file string, v any) error {
	if k.Folder == "" {
		return nil
	}
	run, err := json.Marshal(v)
	if err != nil {
		return err
	}
	data, err := json.Marshal(kept{key, run})
	if err != nil {
		return err
	}
	folder := filepath.Join(k.Folder, key[:folderDigits])
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return err
	}
	f, err := os.CreateTemp(folder, "."+file)
	if err != nil {
		return err
	}
	_, err = f.Write(append(data, '\n'))
	if err = errors.Join(err, f.Close()); err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return os.Rename(f.Name(), filepath.Join(folder, file))
}
