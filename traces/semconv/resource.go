package semconv

// Attributes of resources: of a role as the source of its spans.
const (
	AttrServiceName       = "service.name"
	AttrServiceInstanceID = "service.instance.id"
	AttrHostName          = "host.name"
	AttrProcessID         = "process.pid"
	AttrSDKName           = "telemetry.sdk.name"
	AttrSDKLanguage       = "telemetry.sdk.language"
	AttrSDKVersion        = "telemetry.sdk.version"
)

// Names of roles: values of AttrServiceName and of the label Role.
const (
	RoleProxy     = "proxy-server"
	RoleExecution = "execution-server"
	RoleStorage   = "storage-server"
	RoleCasd      = "casd"
	RoleWorker    = "worker"
)

// Import is the service.name of spans that were made from another tool's record.
// They stand for spans of any role, as far as that tool knew of them: some hang
// elsewhere, since what was between isn't in the record.
const Import = "import"

// ResourceAttributes returns the declaration of every attribute of resources,
// but those that an operator adds by OTEL_RESOURCE_ATTRIBUTES.
func ResourceAttributes() []Attribute {
	return []Attribute{
		stable(text(AttrServiceName, PerCluster, fromOTel, nil, "The role; of a client, what it calls itself.")),
		stable(text(AttrServiceInstanceID, PerCluster, fromOTel, nil, "Another one at each start of a role.")),
		text(AttrHostName, PerCluster, fromOTel, nil, "The machine's name."),
		releaseCandidate(number(AttrProcessID, "", PerCluster, fromOTel, nil, "The process, which may hold several roles.")),
		stable(text(AttrSDKName, PerProgram, fromOTel, nil, "The SDK.", "opentelemetry")),
		stable(text(AttrSDKLanguage, PerProgram, fromOTel, nil, "The language the role is written in.", "go")),
		stable(text(AttrSDKVersion, PerCluster, fromOTel, nil, "The version of the SDK.")),
	}
}
