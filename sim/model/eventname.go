package model

import "fmt"

// EventName is what a kind of event is called, in the record of a run.
func EventName(kind uint8) string {
	names := [...]string{
		evStage: "stage", evLink: "link", evGiveUp: "give up", evFault: "fault", evLife: "life", evReport: "report",
		evTick: "tick", evArrive: "arrive", evAsk: "ask", evScale: "scale", evThaw: "thaw", evCall: "call",
		evLook: "look up", evPlead: "request",
	}
	if int(kind) >= len(names) || names[kind] == "" {
		return fmt.Sprintf("kind %d", kind)
	}
	return names[kind]
}
