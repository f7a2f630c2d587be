package worker

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"gopkg.in/yaml.v3"

	"github.com/weir-build/weir/system/proto/bots"
)

const (
	// statusPace is how often the status file is looked at: whoever takes a machine out
	// of service waits for it.
	statusPace = time.Second
	// maxStatusFile is far beyond one line.
	maxStatusFile = 64 << 10
)

// statusFile is a file that says how a worker is, for whoever takes its machine out of
// service and puts it back.
type statusFile struct {
	path string
	last []byte // what was read last
}

// changed returns the status that the file tells, and whether the file is another than
// the last time.
func (f *statusFile) changed() (bots.BotStatus, bool, error) {
	file, err := os.Open(f.path)
	if err != nil {
		return 0, false, err
	}
	defer file.Close()
	content, err := io.ReadAll(io.LimitReader(file, maxStatusFile))
	if err != nil || f.last != nil && bytes.Equal(content, f.last) {
		return 0, false, err
	}
	f.last = content
	status, err := parseStatus(content)
	if err != nil {
		return 0, false, fmt.Errorf("%s: %w", f.path, err)
	}
	return status, true, nil
}

// parseStatus reads a line such as "botStatus: unhealthy". Words of BotStatus are taken
// in any case, with its underscores or without.
func parseStatus(content []byte) (bots.BotStatus, error) {
	var config struct {
		BotStatus string `yaml:"botStatus"`
	}
	decoder := yaml.NewDecoder(bytes.NewReader(content))
	decoder.KnownFields(true)
	if err := decoder.Decode(&config); err != nil && !errors.Is(err, io.EOF) {
		return 0, err
	}
	word := strings.ReplaceAll(strings.ToLower(config.BotStatus), "_", "")
	for _, s := range []bots.BotStatus{bots.BotStatus_OK, bots.BotStatus_UNHEALTHY, bots.BotStatus_HOST_REBOOTING, bots.BotStatus_BOT_TERMINATING} {
		if word == strings.ReplaceAll(strings.ToLower(s.String()), "_", "") {
			return s, nil
		}
	}
	return 0, fmt.Errorf("botStatus %.50q is none of ok, unhealthy, host_rebooting, bot_terminating", config.BotStatus)
}

// checkStatus takes over what the status file says. A file that can't be read or makes no
// sense is told of, once, and changes nothing. A worker that is stopping goes on with it.
func (s *session) checkStatus() {
	status, changed, err := s.file.changed()
	switch {
	case err != nil && err.Error() != s.complaint:
		s.logger.Warn("bot status not read", "err", err, "status", s.status)
		s.complaint = err.Error()
	case err == nil:
		s.complaint = ""
	}
	if !changed || status == s.status || s.status == bots.BotStatus_BOT_TERMINATING {
		return
	}
	s.logger.Info("bot status changed", "from", s.status, "to", status)
	s.status = status
	s.tell()
}
