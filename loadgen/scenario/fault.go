package scenario

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"gopkg.in/yaml.v3"
)

// Fault is something that goes wrong at a time after the begin. What is 0 doesn't.
type Fault struct {
	At time.Duration
	// KillWorkers is how many workers end without a word, KillShare which share of all.
	KillWorkers int
	KillShare   float64
	// KillZone is the zone that goes down: its workers end without a word, and others
	// don't come up in it until For is over; 0 is never. Then those come back.
	KillZone string
	// StartWorkers is how many come, of the first kind.
	StartWorkers int
	// DrainWorkers is how many are told to go when they have done what they have.
	DrainWorkers int
	// FreezeWorkers is how many stand still for For: nothing runs on, and nothing is heard
	// of them.
	FreezeWorkers int
	// CacheOutage is for how long no result is found, nor kept.
	CacheOutage time.Duration
	// StorageOutage is for how long no transfer gets on. StorageSlow is the share of their
	// rates that is left for For.
	StorageOutage time.Duration
	StorageSlow   float64
	// SchedulerRestart is how long it takes until the scheduler is there again, with what
	// its journal has; nil if it doesn't end.
	SchedulerRestart *time.Duration
	For              time.Duration
}

// String says what goes wrong, in the words of a scenario.
func (f *Fault) String() string {
	var words []string
	say := func(is bool, format string, args ...any) {
		if is {
			words = append(words, fmt.Sprintf(format, args...))
		}
	}
	say(f.KillWorkers > 0, "kill_workers %d", f.KillWorkers)
	say(f.KillShare > 0, "kill_share %g%%", f.KillShare*100)
	say(f.KillZone != "", "kill_zone %s", f.KillZone)
	say(f.StartWorkers > 0, "start_workers %d", f.StartWorkers)
	say(f.DrainWorkers > 0, "drain_workers %d", f.DrainWorkers)
	say(f.FreezeWorkers > 0, "freeze_workers %d", f.FreezeWorkers)
	say(f.CacheOutage > 0, "cache_outage %v", f.CacheOutage)
	say(f.StorageOutage > 0, "storage_outage %v", f.StorageOutage)
	say(f.StorageSlow > 0, "storage_slow %g%%", f.StorageSlow*100)
	if f.SchedulerRestart != nil {
		say(true, "scheduler_restart %v", *f.SchedulerRestart)
	}
	say(f.For > 0, "for %v", f.For)
	return fmt.Sprintf("%v %s", f.At, strings.Join(words, " "))
}

// ParseFault reads one fault as a file has it, such as {kill_workers: 3}, for a cluster. It is
// at a time unless it says another.
func ParseFault(text string, at time.Duration, c *Cluster) (Fault, error) {
	var document yaml.Node
	if err := yaml.Unmarshal([]byte(text), &document); err != nil || len(document.Content) == 0 || document.Content[0].Kind != yaml.MappingNode || cyclic(document.Content[0], nil) {
		return Fault{}, fmt.Errorf("%q: want what goes wrong, such as {kill_workers: 3}", text)
	}
	r := new(reader)
	f := r.fault(document.Content[0], "fault", at, c)
	var all []string
	for _, p := range r.problems {
		all = append(all, p.text)
	}
	if all != nil {
		return Fault{}, errors.New(strings.Join(all, "; "))
	}
	return f, nil
}

// fault reads a fault, which is at a time unless it says another.
func (r *reader) fault(n *yaml.Node, what string, at time.Duration, c *Cluster) Fault {
	o := r.object(n, what)
	defer o.end()
	f := Fault{
		At:            r.duration(o.get("at"), what+".at", at),
		KillWorkers:   r.whole(o.get("kill_workers"), what+".kill_workers", 0, 0, maxWorkers),
		KillShare:     r.share(o.get("kill_share"), what+".kill_share", 0),
		KillZone:      r.text(o.get("kill_zone"), what+".kill_zone", ""),
		StartWorkers:  r.whole(o.get("start_workers"), what+".start_workers", 0, 0, maxWorkers),
		DrainWorkers:  r.whole(o.get("drain_workers"), what+".drain_workers", 0, 0, maxWorkers),
		FreezeWorkers: r.whole(o.get("freeze_workers"), what+".freeze_workers", 0, 0, maxWorkers),
		CacheOutage:   r.duration(o.get("cache_outage"), what+".cache_outage", 0),
		StorageOutage: r.duration(o.get("storage_outage"), what+".storage_outage", 0),
		StorageSlow:   r.share(o.get("storage_slow"), what+".storage_slow", 0),
	}
	if restart := o.get("scheduler_restart"); restart != nil {
		d := r.duration(restart, what+".scheduler_restart", 0)
		f.SchedulerRestart = &d
	}
	last := o.get("for")
	f.For = r.duration(last, what+".for", 0)
	if o.node.Kind != yaml.MappingNode {
		return f
	}
	if f == (Fault{At: f.At, For: f.For}) {
		r.wrong(n, "%s: nothing goes wrong; want one of %s", what, strings.Join(slices.DeleteFunc(o.known, func(key string) bool { return key == "at" || key == "for" }), ", "))
	}
	r.lasting(o, what, &f)
	if (f.StorageOutage > 0 || f.StorageSlow > 0) && (c == nil || c.Storage == nil) {
		r.wrong(n, "%s: the cluster has no storage: transfers take no time, and can't be slower", what)
	}
	if zone := o.get("kill_zone"); zone != nil {
		r.zone(zone, what, c)
	}
	return f
}

// lasting checks that what has to last says how long, and nothing else does.
func (r *reader) lasting(o *object, what string, f *Fault) {
	for _, key := range []string{"freeze_workers", "storage_slow"} {
		if o.get(key) != nil && f.For == 0 {
			r.wrong(o.get(key), "%s: %s lasts for some time; want it beside, such as for: 90s", what, key)
		}
	}
	if f.StorageSlow == 1 {
		r.wrong(o.get("storage_slow"), "%s.storage_slow: all of the rate is left; want less, such as 10%%", what)
	}
	if f.For > 0 && f.FreezeWorkers == 0 && f.StorageSlow == 0 && f.KillZone == "" {
		r.wrong(o.get("for"), "%s.for: it is of freeze_workers, storage_slow and kill_zone, and there is none of them", what)
	}
}

func (r *reader) zone(n *yaml.Node, what string, c *Cluster) {
	var zones []string
	if c != nil {
		for _, w := range c.Workers {
			if w.Zone != "" && !slices.Contains(zones, w.Zone) {
				zones = append(zones, w.Zone)
			}
		}
	}
	if slices.Contains(zones, n.Value) {
		return
	}
	there := "there are: " + strings.Join(zones, ", ")
	if zones == nil {
		there = "give some of cluster.workers one, as zone: a"
	}
	r.wrong(n, "%s.kill_zone: no workers are in zone %s; %s", what, describe(n), there)
}

// simulatedOnly names what of a fault is left out of a real run.
func (f *Fault) simulatedOnly(has func(key string, is bool)) {
	for _, one := range []struct {
		key string
		is  bool
	}{
		{"kill_share", f.KillShare > 0},
		{"kill_zone", f.KillZone != ""},
		{"drain_workers", f.DrainWorkers > 0},
		{"freeze_workers", f.FreezeWorkers > 0},
		{"cache_outage", f.CacheOutage > 0},
		{"storage_outage", f.StorageOutage > 0},
		{"storage_slow", f.StorageSlow > 0},
		{"scheduler_restart", f.SchedulerRestart != nil},
	} {
		has(fmt.Sprintf("faults.%s", one.key), one.is)
	}
}
