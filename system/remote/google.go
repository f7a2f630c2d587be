package remote

import (
	"context"
	"fmt"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/oauth"
)

// googleScope is the one that Bazel asks for with --google_default_credentials.
const googleScope = "https://www.googleapis.com/auth/cloud-platform"

// googleCredentials are those that Google's libraries find by themselves: the file that
// GOOGLE_APPLICATION_CREDENTIALS names, gcloud's, or those of the machine.
func googleCredentials() (credentials.PerRPCCredentials, error) {
	// The context is that of later refreshes, so it must not end.
	found, err := oauth.NewApplicationDefault(context.Background(), googleScope)
	if err != nil {
		return nil, fmt.Errorf("application default credentials of Google: %w", err)
	}
	return found, nil
}
