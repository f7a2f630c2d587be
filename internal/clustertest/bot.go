package clustertest

import (
	"context"
	"strings"
	"time"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	spb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/weir-build/weir/system/proto/bots"
	"github.com/weir-build/weir/system/remote"
)

// patience bounds what a bot waits for, on a busy machine.
const patience = 20 * time.Second

// A Bot is a worker under the test's control. It has one
// slot.
type Bot struct {
	c       *Cluster
	client  bots.BotsClient
	session *bots.BotSession
}

// Bot opens the session of a worker that offers the given platform, as
// key=value. Another session of the same id replaces the one before, which loses
// what it held. token is the file of the token it shows, empty for none.
func (c *Cluster) Bot(id, token string, platform ...string) *Bot {
	c.t.Helper()
	b, err := c.TryBot(id, token, platform...)
	if err != nil {
		c.t.Fatal(err)
	}
	return b
}

// TryBot is Bot where the session may be refused.
func (c *Cluster) TryBot(id, token string, platform ...string) (*Bot, error) {
	c.t.Helper()
	conn, err := remote.Dial(remote.Config{URL: "grpc://" + c.Up.Bots, AccessToken: token})
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() { conn.Close() })
	device := new(bots.Device)
	for _, property := range platform {
		key, value, _ := strings.Cut(property, "=")
		device.Properties = append(device.Properties, &bots.Device_Property{Key: key, Value: value})
	}
	b := &Bot{c: c, client: bots.NewBotsClient(conn.Conn())}
	ctx, cancel := context.WithTimeout(c.t.Context(), patience)
	defer cancel()
	b.session, err = b.client.CreateBotSession(ctx, &bots.CreateBotSessionRequest{Parent: c.instance, BotSession: &bots.BotSession{
		BotId: id, Status: bots.BotStatus_OK, Worker: &bots.Worker{
			Devices: []*bots.Device{device},
			Configs: []*bots.Worker_Config{{Key: bots.InterruptibleConfig, Value: "true"}},
		},
	}})
	return b, err
}

// Take polls until a lease is offered, and returns it.
func (b *Bot) Take() *bots.Lease {
	b.c.t.Helper()
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); {
		reply, err := b.update()
		if err != nil {
			b.c.t.Fatalf("poll of %s: %v", b.session.BotId, err)
		}
		for _, l := range reply.Leases {
			if l.State == bots.LeaseState_PENDING {
				return l
			}
		}
	}
	b.c.t.Fatalf("%s is offered no lease", b.session.BotId)
	return nil
}

// Complete reports the result of a lease. It returns the error of the call: a
// session that was replaced is told so, though its result may count.
func (b *Bot) Complete(lease *bots.Lease, result *repb.ActionResult) error {
	b.c.t.Helper()
	packed, err := anypb.New(result)
	if err != nil {
		b.c.t.Fatal(err)
	}
	_, err = b.update(&bots.Lease{Id: lease.Id, State: bots.LeaseState_COMPLETED, Status: new(spb.Status), Result: packed})
	return err
}

// update is one poll. One without news ends with its deadline, which is no
// error.
func (b *Bot) update(leases ...*bots.Lease) (*bots.BotSession, error) {
	ctx, cancel := context.WithTimeout(b.c.t.Context(), patience)
	defer cancel()
	session := proto.Clone(b.session).(*bots.BotSession)
	session.Leases = leases
	reply, err := b.client.UpdateBotSession(ctx, &bots.UpdateBotSessionRequest{Name: session.Name, BotSession: session})
	if status.Code(err) == codes.DeadlineExceeded {
		return session, nil
	}
	return reply, err
}
