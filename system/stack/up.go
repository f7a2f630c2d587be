package stack

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"

	"golang.org/x/sync/errgroup"

	"github.com/weir-build/weir/system/proxy"
	"github.com/weir-build/weir/system/telemetry"
)

// Cluster configures a whole cluster in one process.
type Cluster struct {
	// Dir is where the cluster keeps everything: storage, the cache of casd, the
	// files of leases. Required.
	Dir string
	// Memory keeps blobs and results in memory instead.
	Memory bool
	// StorageQuota and CacheQuota bound the storage and the cache of casd; 0
	// means no bound.
	StorageQuota, CacheQuota Size
	// Workers and Slots are how many workers there are and how many actions each
	// runs at a time.
	Workers, Slots int
	// Platform is what the workers offer, as key=value.
	Platform []string
	// Groups are workers that are alike, if they aren't all: then Workers, Slots and
	// Platform are ignored.
	Groups []WorkerGroup
	// Runner is the program that runs actions, Path its PATH; see Worker.
	Runner, Path string
	// RunnerPool is how many processes of the runner each worker may keep; see Worker.
	RunnerPool *int
	// Instance is the REAPI instance served.
	Instance string
	// NoFUSE stages real files even where FUSE works.
	NoFUSE bool

	// Client, Bots and Casd are listen addresses: for clients, for workers and
	// for runners.
	Client, Bots, Casd string
	// JWKSet, if set, makes clients show a JWT; Tokens, if set, is the file of
	// the tokens that workers show, and Token the file of the one that ours
	// do.
	JWKSet, Tokens, Token string

	// Execution sets times of the execution-server; its other fields are
	// ignored.
	Execution Execution
}

// WorkerGroup is workers that are alike.
type WorkerGroup struct {
	Count, Slots int
	Platform     []string
}

func (c *Cluster) groups() []WorkerGroup {
	if c.Groups != nil {
		return c.Groups
	}
	return []WorkerGroup{{Count: c.Workers, Slots: c.Slots, Platform: c.Platform}}
}

// TotalSlots is how many actions all workers run at a time.
func (c *Cluster) TotalSlots() int {
	total := 0
	for _, g := range c.groups() {
		total += g.Count * g.Slots
	}
	return total
}

// Up is a cluster that is made and not yet running.
type Up struct {
	// Roles in the order of their start.
	Roles []*Role
	// Client, Bots and Casd are the addresses listened on.
	Client, Bots, Casd string

	cluster Cluster
	record  func(role string) (*telemetry.Telemetry, error)
	opened  []net.Listener
}

// NewUp makes a cluster. Each role records with what record returns for it, once
// for each name.
func NewUp(c Cluster, record func(role string) (*telemetry.Telemetry, error)) (*Up, error) {
	u := &Up{cluster: c, record: record}
	if err := u.build(); err != nil {
		for _, l := range u.opened {
			l.Close()
		}
		return nil, err
	}
	return u, nil
}

func (u *Up) build() error {
	c := &u.cluster
	// Others may pass through: actions may belong to somebody else.
	if err := os.MkdirAll(c.Dir, 0o711); err != nil {
		return err
	}
	storageListener, err := u.listen("storage-server", "127.0.0.1:0")
	if err != nil {
		return err
	}
	executionListener, err := u.listen("execution-server", "127.0.0.1:0")
	if err != nil {
		return err
	}
	clientListener, err := u.listen("proxy-server", c.Client)
	if err != nil {
		return err
	}
	botsListener, err := u.listen("proxy-server for workers", c.Bots)
	if err != nil {
		return err
	}
	casdListener, err := u.listen("casd", c.Casd)
	if err != nil {
		return err
	}
	u.Client, u.Bots, u.Casd = clientListener.Addr().String(), botsListener.Addr().String(), casdListener.Addr().String()

	if err := u.add("storage-server", func(t *telemetry.Telemetry) (*Role, error) {
		return NewStorage(c.storage(), t, storageListener)
	}); err != nil {
		return err
	}
	// Before the execution-server, so that it ends after it: operations that no
	// worker is left for would keep their streams open here.
	if err := u.add("proxy-server", func(t *telemetry.Telemetry) (*Role, error) {
		config := c.proxy(u.Client, u.Bots, storageListener.Addr().String(), executionListener.Addr().String())
		return NewProxy(config, t, clientListener, botsListener)
	}); err != nil {
		return err
	}
	if err := u.add("execution-server", func(t *telemetry.Telemetry) (*Role, error) {
		config := c.Execution
		config.Instances, config.Storage = []string{c.Instance}, "grpc://"+storageListener.Addr().String()
		return NewExecution(config, t, executionListener)
	}); err != nil {
		return err
	}
	if err := u.add("casd", func(t *telemetry.Telemetry) (*Role, error) {
		return NewCasd(Casd{
			Dir: filepath.Join(c.Dir, "casd"), Quota: c.CacheQuota, NoFUSE: c.NoFUSE,
			CasdInstances: CasdInstances{Instance: c.Instance, Remote: Remote{URL: "grpc://" + u.Bots, AccessToken: c.Token}},
		}, t, casdListener)
	}); err != nil {
		return err
	}
	return u.addWorkers()
}

func (u *Up) addWorkers() error {
	c := &u.cluster
	if c.TotalSlots() == 0 {
		return nil
	}
	t, err := u.record("worker")
	if err != nil {
		return err
	}
	runnerArgs, err := u.runnerArgs(t)
	if err != nil {
		return err
	}
	number := 0
	for _, group := range c.groups() {
		for range group.Count {
			number++
			dir := filepath.Join(c.Dir, "work", fmt.Sprint(number))
			if err := os.MkdirAll(dir, 0o700); err != nil {
				return err
			}
			role, err := NewWorker(Worker{
				BotID: fmt.Sprintf("worker-%d", number), Instance: c.Instance,
				Bots: Remote{URL: "grpc://" + u.Bots, AccessToken: c.Token}, CAS: Remote{URL: "grpc://" + u.Casd},
				Runner: c.Runner, RunnerArgs: runnerArgs, RunnerPool: c.RunnerPool, Path: c.Path,
				Platform: group.Platform, Slots: group.Slots, WorkDir: dir, GracefulShutdown: drainTimeout / 2,
			}, t)
			if err != nil {
				return fmt.Errorf("worker: %w", err)
			}
			u.Roles = append(u.Roles, role)
		}
	}
	return nil
}

func (u *Up) listen(what, address string) (net.Listener, error) {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("%s: %w (is another cluster running? see --help for the flags that choose addresses)", what, err)
	}
	u.opened = append(u.opened, l)
	return l, nil
}

func (u *Up) add(name string, make func(*telemetry.Telemetry) (*Role, error)) error {
	t, err := u.record(name)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	role, err := make(t)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	u.Roles = append(u.Roles, role)
	return nil
}

func (c *Cluster) storage() Storage {
	s := Storage{Instances: []string{c.Instance}}
	if !c.Memory {
		s.CAS.Path = filepath.Join(c.Dir, "cas")
		s.ActionCache.Path = filepath.Join(c.Dir, "ac")
	}
	s.CAS.Quota = c.StorageQuota
	return s
}

// Services of the two listeners. Workers need no action cache: results reach it
// through the execution-server.
var (
	clientServices = []string{
		"build.bazel.remote.execution.v2.ContentAddressableStorage", "build.bazel.remote.execution.v2.ActionCache",
		"build.bazel.remote.execution.v2.Capabilities", "build.bazel.remote.execution.v2.Execution",
		"google.bytestream.ByteStream", "google.longrunning.Operations", "weir.admin.v1.Admin",
	}
	botServices = []string{
		"build.bazel.remote.execution.v2.ContentAddressableStorage", "build.bazel.remote.execution.v2.Capabilities",
		"google.bytestream.ByteStream", "google.devtools.remoteworkers.v1test2.Bots",
	}
)

func (c *Cluster) proxy(client, bots, storage, execution string) proxy.Config {
	set := proxy.Set{CAS: "storage", ActionCache: "storage", Execution: "execution"}
	config := proxy.Config{
		Listeners: []proxy.Listener{
			{Addr: client, Scheme: proxy.NoAuth, Services: clientServices},
			{Addr: bots, Scheme: proxy.NoAuth, Services: botServices},
		},
		Backends: map[string]proxy.Backend{"storage": {Address: storage}, "execution": {Address: execution}},
		Default:  set,
	}
	if c.JWKSet != "" {
		config.Listeners[0].Scheme, config.JWKSetPath = proxy.JWT, c.JWKSet
	}
	if c.Tokens != "" {
		config.Listeners[1].Scheme, config.Tokens = proxy.AuthToken, &proxy.TokenFile{Path: c.Tokens}
	}
	return config
}

// Run runs the cluster until ctx is done or a role fails; then the roles end one
// after the other, the last started first, so that none loses what it needs to
// end in order.
func (u *Up) Run(ctx context.Context) error {
	var group errgroup.Group
	failed := make(chan struct{}, len(u.Roles))
	stops := make([]context.CancelFunc, len(u.Roles))
	ended := make([]chan struct{}, len(u.Roles))
	for i, role := range u.Roles {
		running, stop := context.WithCancel(context.WithoutCancel(ctx))
		stops[i], ended[i] = stop, make(chan struct{})
		group.Go(func() error {
			defer close(ended[i])
			err := role.Run(running)
			if err != nil {
				failed <- struct{}{}
			}
			return err
		})
	}
	select {
	case <-ctx.Done():
	case <-failed:
	}
	for i := len(u.Roles) - 1; i >= 0; i-- {
		stops[i]()
		// Workers end together: each waits for what it runs.
		if i == 0 || u.Roles[i].Name != u.Roles[i-1].Name {
			for j := i; j < len(u.Roles) && u.Roles[j].Name == u.Roles[i].Name; j++ {
				<-ended[j]
			}
		}
	}
	return group.Wait()
}

// WaitReady waits until all roles that listen answer.
func (u *Up) WaitReady(ctx context.Context) error {
	var dialer net.Dialer
	for _, role := range u.Roles {
		if role.Addr == "" {
			continue
		}
		conn, err := dialer.DialContext(ctx, "tcp", role.Addr)
		if err != nil {
			return fmt.Errorf("%s: %w", role.Name, err)
		}
		conn.Close()
	}
	return nil
}
