package early

import "runtime"

// Capabilities of programs of ours beside BuildBox's: --run-as, and being kept for the
// next action. The number counts versions of what worker and runner say to each other then:
// one of another version is started for each action, as foreign ones are.
const (
	RunAs = "run-as"
	Pool  = "serve-pool-2"
)

// SocketProperty is the platform property that says where in its inputs an action wants a
// socket by which it can use the remote APIs itself.
const SocketProperty = "remoteApisSocketPath"

// Lines is what a program prints that is asked what its runner can do: what all of them can
// and its own, one a line.
func Lines(own []string) string {
	text := ""
	for _, line := range append([]string{"no-logs-capture", RunAs, Pool}, own...) {
		text += line + "\n"
	}
	return text
}

// HostTools are the capabilities of runner.HostTools: the platform is that of the host.
func HostTools() []string { return append(Sleep(), "platform:"+SocketProperty) }

// Namespaces are those of runner.Namespaces: the platform, and what can be wished for.
func Namespaces() []string {
	return append(Sleep(), "bind-mount", "platform:network", "platform:unixUID", "platform:unixGID", "platform:"+SocketProperty)
}

// Sleep are those of runner.Sleep, whose commands need nothing: the platform of the host.
func Sleep() []string {
	return []string{"platform:OSFamily=" + runtime.GOOS, "platform:ISA=" + isa(runtime.GOARCH)}
}

// isa returns BuildBox's name of an architecture.
func isa(arch string) string {
	switch arch {
	case "amd64":
		return "x86-64"
	case "386":
		return "x86-32"
	case "arm64":
		return "aarch64"
	case "arm":
		return "aarch32"
	case "ppc64":
		return "power-isa-be"
	case "ppc64le":
		return "power-isa-le"
	}
	return arch
}
