package options

import (
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/weir-build/weir/system/remote"
)

// Remote returns the connection options that all BuildBox programs share, with a
// prefix such as "cas-" or with none. They set the same in each config. Those with a
// prefix overrule those without.
func Remote(prefix string, configs ...*remote.Config) []Option {
	// each returns a Set of a field in each config.
	each := func(set func(*remote.Config) func(string) error) func(string) error {
		return func(v string) error {
			for _, c := range configs {
				if err := set(c)(v); err != nil {
					return err
				}
			}
			return nil
		}
	}
	list := []Option{
		{Name: "remote", Value: "URL", Help: "server: grpc://HOST:PORT, grpcs://HOST:PORT or unix:PATH", Set: each(func(c *remote.Config) func(string) error { return String(&c.URL) })},
		{Name: "instance", Value: "NAME", Help: "REAPI instance name", Optional: true, Set: each(func(c *remote.Config) func(string) error { return String(&c.Instance) })},
		{Name: "server-cert", Value: "PATH", Help: "certificate authority, PEM", Set: each(func(c *remote.Config) func(string) error { return String(&c.ServerCert) })},
		{Name: "client-key", Value: "PATH", Help: "key of this client, PEM", Set: each(func(c *remote.Config) func(string) error { return String(&c.ClientKey) })},
		{Name: "client-cert", Value: "PATH", Help: "certificate of this client, PEM", Set: each(func(c *remote.Config) func(string) error { return String(&c.ClientCert) })},
		{Name: "access-token", Value: "PATH", Help: "file that holds a bearer token", Set: each(func(c *remote.Config) func(string) error { return String(&c.AccessToken) })},
		{Name: "credential-helper", Value: "PATH", Help: "program that tells headers to send, as Bazel's --credential_helper does", Set: each(func(c *remote.Config) func(string) error { return String(&c.CredentialHelper) })},
		{Name: "googleapi-auth", Help: "send tokens of Google's application default credentials", Set: each(func(c *remote.Config) func(string) error { return True(&c.GoogleAuth) })},
		{Name: "token-reload-interval", Value: "TIME", Help: "how often to read it again: minutes, or with suffix M or H", Set: each(reload)},
		{Name: "retry-limit", Value: "N", Help: "retries after a call that failed; default 4, which is the most", Set: each(retryLimit)},
		{Name: "retry-delay", Value: "MS", Help: "delay before the first retry in milliseconds; default 1000", Set: each(func(c *remote.Config) func(string) error { return Duration(time.Millisecond, &c.RetryDelay) })},
		{Name: "retry-on-code", Value: "CODE", Help: "name of a status to retry after beside UNAVAILABLE; repeatable", Set: each(retryOn)},
		{Name: "request-timeout", Value: "SECONDS", Help: "bound of each unary call; default 0: none", Set: each(func(c *remote.Config) func(string) error { return Duration(time.Second, &c.RequestTimeout) })},
		{Name: "min-throughput", Value: "BYTES", Help: "bytes per second, as a size: bounds streams too, by --request-timeout and what their blob takes at this speed", Set: each(func(c *remote.Config) func(string) error { return Size(&c.MinThroughput) })},
		{Name: "keepalive-time", Value: "SECONDS", Help: "interval of pings; default 0: none", Set: each(func(c *remote.Config) func(string) error { return Duration(time.Second, &c.Keepalive) })},
		{Name: "load-balancing-policy", Value: "POLICY", Help: "round_robin, which is the default", Set: each(balancing)},
	}
	for i := range list {
		list[i].Name, list[i].Late = prefix+list[i].Name, prefix != ""
	}
	return list
}

// RemoteArgs returns the command line that makes Remote's options read c.
func RemoteArgs(prefix string, c remote.Config) []string {
	var args []string
	add := func(name, value string) {
		if value != "" {
			args = append(args, "--"+prefix+name+"="+value)
		}
	}
	number := func(name string, d, unit time.Duration) {
		if d > 0 {
			// Rounded up: 0 would mean something else.
			add(name, strconv.FormatInt(int64((d+unit-1)/unit), 10))
		}
	}
	add("remote", c.URL)
	add("instance", c.Instance)
	add("server-cert", c.ServerCert)
	add("client-key", c.ClientKey)
	add("client-cert", c.ClientCert)
	add("access-token", c.AccessToken)
	add("credential-helper", c.CredentialHelper)
	if c.GoogleAuth {
		args = append(args, "--"+prefix+"googleapi-auth")
	}
	number("token-reload-interval", c.TokenReload, time.Minute)
	if c.RetryLimit != 0 {
		add("retry-limit", strconv.Itoa(max(c.RetryLimit, 0)))
	}
	number("retry-delay", c.RetryDelay, time.Millisecond)
	for _, code := range c.RetryOn {
		add("retry-on-code", code)
	}
	number("request-timeout", c.RequestTimeout, time.Second)
	if c.MinThroughput > 0 {
		add("min-throughput", strconv.FormatInt(c.MinThroughput, 10))
	}
	number("keepalive-time", c.Keepalive, time.Second)
	return args
}

func reload(c *remote.Config) func(string) error {
	return func(v string) error {
		unit := time.Minute
		number := v
		switch v[len(v)-1] {
		case 'M', 'm':
			number = v[:len(v)-1]
		case 'H', 'h':
			number, unit = v[:len(v)-1], time.Hour
		}
		// 16 bits of hours are seven years, and no overflow.
		n, err := strconv.ParseUint(number, 10, 16)
		if err != nil {
			return fmt.Errorf("%.50q is not a number of minutes, or one with suffix M or H", v)
		}
		c.TokenReload = time.Duration(n) * unit
		return nil
	}
}

func retryLimit(c *remote.Config) func(string) error {
	return func(v string) error {
		n, err := strconv.ParseUint(v, 10, 16)
		if err != nil {
			return fmt.Errorf("%.50q is not a number from 0 to 65535", v)
		}
		c.RetryLimit = int(n)
		if n == 0 {
			c.RetryLimit = -1 // 0 is remote.Config's way to say default
		}
		return nil
	}
}

func retryOn(c *remote.Config) func(string) error {
	return func(v string) error {
		c.RetryOn = append(c.RetryOn, v)
		return remote.CheckCode(v)
	}
}

func balancing(*remote.Config) func(string) error {
	return func(v string) error {
		if v != "round_robin" {
			return errors.New(strconv.Quote(v) + " is not supported, only round_robin")
		}
		return nil
	}
}
