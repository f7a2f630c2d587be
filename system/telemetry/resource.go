package telemetry

import (
	"context"
	"fmt"

	"github.com/google/uuid"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/resource"
)

// newResource describes the role as the source of its spans. Attributes of
// OTEL_RESOURCE_ATTRIBUTES are added. Its service.name, and OTEL_SERVICE_NAME,
// are not used: the roles of one process would all be called the same.
func newResource(ctx context.Context, role string) (*resource.Resource, error) {
	r, err := resource.New(ctx,
		resource.WithFromEnv(),
		resource.WithTelemetrySDK(),
		resource.WithHost(),
		resource.WithProcessPID(),
		resource.WithAttributes(
			attribute.String("service.name", role),
			attribute.String("service.instance.id", uuid.NewString()),
		))
	if err != nil {
		return nil, fmt.Errorf("describe this process: %w", err)
	}
	return r, nil
}
