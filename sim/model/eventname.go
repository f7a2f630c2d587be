package model

import "fmt"

// EventName is what a kind of event is called, in the record of a run.
func EventName(kind uint8) string {
	names := [...]string{
		evComplete: "complete", evCancel: "cancel", evFault: "fault", evReport: "report", evTick: "tick", evArrive: "arrive",
	}
	if int(kind) >= len(names) || names[kind] == "" {
		return fmt.Sprintf("kind %d", kind)
	}
	return names[kind]
}
