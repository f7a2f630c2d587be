package proto_test

// wire has, for each package, what programs that aren't ours put on the wire:
// google.devtools.remoteworkers.v1test2 of googleapis, and the newest protocols
// of BuildBox (its casd and BuildStream of 2026, its runners of 2021). A number
// or type that changes here breaks somebody else's worker.
var wire = map[string]string{
	"google.devtools.remoteworkers.v1test2": `
Bots.CreateBotSession CreateBotSessionRequest BotSession
Bots.UpdateBotSession UpdateBotSessionRequest BotSession

CreateBotSessionRequest.parent      1 string
CreateBotSessionRequest.bot_session 2 BotSession
UpdateBotSessionRequest.name        1 string
UpdateBotSessionRequest.bot_session 2 BotSession
UpdateBotSessionRequest.update_mask 3 google.protobuf.FieldMask

BotSession.name        1 string
BotSession.bot_id      2 string
BotSession.status      3 BotStatus
BotSession.worker      4 Worker
BotSession.leases      5 repeated Lease
BotSession.expire_time 6 google.protobuf.Timestamp
BotSession.version     7 string

Lease.assignment        1 string
Lease.state             2 LeaseState
Lease.status            3 google.rpc.Status
Lease.requirements      4 Worker
Lease.expire_time       5 google.protobuf.Timestamp
Lease.inline_assignment 6 google.protobuf.Any
Lease.id                7 string
Lease.payload           8 google.protobuf.Any
Lease.result            9 google.protobuf.Any

Worker.devices        1 repeated Device
Worker.properties     2 repeated Worker.Property
Worker.configs        3 repeated Worker.Config
Worker.Property.key   1 string
Worker.Property.value 2 string
Worker.Config.key     1 string
Worker.Config.value   2 string

Device.handle         1 string
Device.properties     2 repeated Device.Property
Device.Property.key   1 string
Device.Property.value 2 string

AdminTemp.command 1 AdminTemp.Command
AdminTemp.arg     2 string
AdminTemp.Command.UNSPECIFIED   0
AdminTemp.Command.BOT_UPDATE    1
AdminTemp.Command.BOT_RESTART   2
AdminTemp.Command.BOT_TERMINATE 3
AdminTemp.Command.HOST_RESTART  4

LeaseState.LEASE_STATE_UNSPECIFIED 0
LeaseState.PENDING   1
LeaseState.ACTIVE    2
LeaseState.COMPLETED 4
LeaseState.CANCELLED 5

BotStatus.BOT_STATUS_UNSPECIFIED 0
BotStatus.OK              1
BotStatus.UNHEALTHY       2
BotStatus.HOST_REBOOTING  3
BotStatus.BOT_TERMINATING 4
BotStatus.INITIALIZING    5
`,

	"build.buildbox": `
ExecutionStatistics.command_rusage 1 ExecutionStatistics.ProcessResourceUsage
ExecutionStatistics.ProcessResourceUsage.utime   1 google.protobuf.Duration
ExecutionStatistics.ProcessResourceUsage.stime   2 google.protobuf.Duration
ExecutionStatistics.ProcessResourceUsage.maxrss  3 int64
ExecutionStatistics.ProcessResourceUsage.minflt  4 int64
ExecutionStatistics.ProcessResourceUsage.majflt  5 int64
ExecutionStatistics.ProcessResourceUsage.inblock 6 int64
ExecutionStatistics.ProcessResourceUsage.oublock 7 int64
ExecutionStatistics.ProcessResourceUsage.nvcsw   8 int64
ExecutionStatistics.ProcessResourceUsage.nivcsw  9 int64
`,

	"build.buildgrid": `
LocalContentAddressableStorage.GetLocalServerDetails GetLocalServerDetailsRequest LocalServerDetails
LocalContentAddressableStorage.FetchMissingBlobs FetchMissingBlobsRequest FetchMissingBlobsResponse
LocalContentAddressableStorage.UploadMissingBlobs UploadMissingBlobsRequest UploadMissingBlobsResponse
LocalContentAddressableStorage.FetchTree FetchTreeRequest FetchTreeResponse
LocalContentAddressableStorage.UploadTree UploadTreeRequest UploadTreeResponse
LocalContentAddressableStorage.CaptureTree CaptureTreeRequest CaptureTreeResponse
LocalContentAddressableStorage.CaptureFiles CaptureFilesRequest CaptureFilesResponse
LocalContentAddressableStorage.GetInstanceNameForRemote GetInstanceNameForRemoteRequest GetInstanceNameForRemoteResponse
LocalContentAddressableStorage.GetInstanceNameForRemotes GetInstanceNameForRemotesRequest GetInstanceNameForRemotesResponse
LocalContentAddressableStorage.GetInstanceNameForNamespace GetInstanceNameForNamespaceRequest GetInstanceNameForNamespaceResponse
LocalContentAddressableStorage.GetLocalDiskUsage GetLocalDiskUsageRequest GetLocalDiskUsageResponse
LocalContentAddressableStorage.StageTree stream StageTreeRequest stream StageTreeResponse

FetchMissingBlobsRequest.instance_name 1 string
FetchMissingBlobsRequest.blob_digests  2 repeated build.bazel.remote.execution.v2.Digest
FetchMissingBlobsResponse.responses 1 repeated FetchMissingBlobsResponse.Response
FetchMissingBlobsResponse.Response.digest 1 build.bazel.remote.execution.v2.Digest
FetchMissingBlobsResponse.Response.status 2 google.rpc.Status
UploadMissingBlobsRequest.instance_name 1 string
UploadMissingBlobsRequest.blob_digests  2 repeated build.bazel.remote.execution.v2.Digest
UploadMissingBlobsResponse.responses 1 repeated UploadMissingBlobsResponse.Response
UploadMissingBlobsResponse.Response.digest 1 build.bazel.remote.execution.v2.Digest
UploadMissingBlobsResponse.Response.status 2 google.rpc.Status
FetchTreeRequest.instance_name    1 string
FetchTreeRequest.root_digest      2 build.bazel.remote.execution.v2.Digest
FetchTreeRequest.fetch_file_blobs 3 bool
FetchTreeResponse is empty
UploadTreeRequest.instance_name 1 string
UploadTreeRequest.root_digest   2 build.bazel.remote.execution.v2.Digest
UploadTreeResponse is empty

StageTreeRequest.instance_name           1 string
StageTreeRequest.root_digest             2 build.bazel.remote.execution.v2.Digest
StageTreeRequest.path                    3 string
StageTreeRequest.access_credentials      4 StageTreeRequest.Credentials
StageTreeRequest.pre_unstage_commands    5 repeated string
StageTreeRequest.staging_mode            6 StageTreeRequest.StagingMode
StageTreeRequest.remote_apis_socket_path 7 string
StageTreeRequest.remote_apis_socket 8 RemoteApisSocketConfig
RemoteApisSocketConfig.instance_name 1 string
RemoteApisSocketConfig.path 2 string
RemoteApisSocketConfig.action_cache_update_enabled 3 bool
RemoteApisSocketConfig.instance_map 4 RemoteApisSocketConfig.InstanceMapEntry
RemoteApisSocketConfig.InstanceMapEntry.key 1 string
RemoteApisSocketConfig.InstanceMapEntry.value 2 string
StageTreeRequest.Credentials.uid 1 int64
StageTreeRequest.Credentials.gid 2 int64
StageTreeRequest.StagingMode.DEFAULT 0
StageTreeRequest.StagingMode.FUSE 1
StageTreeRequest.StagingMode.COPY_OR_LINK 2
StageTreeResponse.path 1 string

CaptureTreeRequest.instance_name           1 string
CaptureTreeRequest.path                    2 repeated string
CaptureTreeRequest.bypass_local_cache      3 bool
CaptureTreeRequest.node_properties         4 repeated string
CaptureTreeRequest.move_files              5 bool
CaptureTreeRequest.root                    6 string
CaptureTreeRequest.output_directory_format 7 build.bazel.remote.execution.v2.Command.OutputDirectoryFormat
CaptureTreeRequest.skip_upload             8 bool
CaptureTreeRequest.unix_mode_mask          9 google.protobuf.UInt32Value
CaptureTreeResponse.responses 1 repeated CaptureTreeResponse.Response
CaptureTreeResponse.Response.path                  1 string
CaptureTreeResponse.Response.tree_digest           2 build.bazel.remote.execution.v2.Digest
CaptureTreeResponse.Response.status                3 google.rpc.Status
CaptureTreeResponse.Response.root_directory_digest 4 build.bazel.remote.execution.v2.Digest

CaptureFilesRequest.instance_name      1 string
CaptureFilesRequest.path               2 repeated string
CaptureFilesRequest.bypass_local_cache 3 bool
CaptureFilesRequest.node_properties    4 repeated string
CaptureFilesRequest.move_files         5 bool
CaptureFilesRequest.root               6 string
CaptureFilesRequest.skip_upload        7 bool
CaptureFilesRequest.unix_mode_mask     8 google.protobuf.UInt32Value
CaptureFilesResponse.responses 1 repeated CaptureFilesResponse.Response
CaptureFilesResponse.Response.path            1 string
CaptureFilesResponse.Response.digest          2 build.bazel.remote.execution.v2.Digest
CaptureFilesResponse.Response.status          3 google.rpc.Status
CaptureFilesResponse.Response.is_executable   4 bool
CaptureFilesResponse.Response.node_properties 6 build.bazel.remote.execution.v2.NodeProperties
CaptureFilesResponse.Response reserved 5

GetInstanceNameForRemoteRequest.url           1 string
GetInstanceNameForRemoteRequest.instance_name 2 string
GetInstanceNameForRemoteRequest.server_cert   3 bytes
GetInstanceNameForRemoteRequest.client_key    4 bytes
GetInstanceNameForRemoteRequest.client_cert   5 bytes
GetInstanceNameForRemoteResponse.instance_name 1 string
Remote.url                          1 string
Remote.instance_name                2 string
Remote.server_cert                  3 bytes
Remote.client_key                   4 bytes
Remote.client_cert                  5 bytes
Remote.keepalive_time               6 google.protobuf.Duration
Remote.access_token_path            7 string
Remote.access_token_reload_interval 8 google.protobuf.Duration
Remote.retry_limit                  9 int64
Remote.retry_delay                  10 google.protobuf.Duration
Remote.request_timeout              11 google.protobuf.Duration
Remote.read_only                    12 bool
GetInstanceNameForRemotesRequest.content_addressable_storage 1 Remote
GetInstanceNameForRemotesRequest.remote_asset                2 Remote
GetInstanceNameForRemotesRequest.instance_name               3 string
GetInstanceNameForRemotesRequest.action_cache                4 Remote
GetInstanceNameForRemotesRequest.execution                   5 Remote
GetInstanceNameForRemotesResponse.instance_name 1 string
GetInstanceNameForNamespaceRequest.instance_name 1 string
GetInstanceNameForNamespaceRequest.root          2 string
GetInstanceNameForNamespaceResponse.instance_name 1 string

GetLocalServerDetailsRequest.instance_name 1 string
LocalServerDetails.hostname     1 string
LocalServerDetails.process_uid  2 int64
LocalServerDetails.storage_root 3 string
GetLocalDiskUsageRequest is empty
GetLocalDiskUsageResponse.size_bytes  1 int64
GetLocalDiskUsageResponse.quota_bytes 2 int64
`,

	"weir.batch.v1": `
BatchFindActionsRequest.instance_name 1 string
BatchFindActionsRequest.queries 2 repeated BatchFindActionsRequest.Query
BatchFindActionsRequest.digest_function 3 build.bazel.remote.execution.v2.DigestFunction.Value
BatchFindActionsRequest.Query.action_digest 1 build.bazel.remote.execution.v2.Digest
BatchFindActionsRequest.Query.skip_result 2 bool
BatchFindActionsResponse.responses 1 repeated BatchFindActionsResponse.Response
BatchFindActionsResponse.Response.status 1 google.rpc.Status
BatchFindActionsResponse.Response.result 2 build.bazel.remote.execution.v2.ActionResult
BatchFindActionsResponse.Response.left_out 3 bool
BatchFindActionsResponse.Response.action 4 bytes
BatchFindActionsResponse.Response.command 5 bytes
BatchUpdateActionResultsRequest.instance_name 1 string
BatchUpdateActionResultsRequest.updates 2 repeated BatchUpdateActionResultsRequest.Update
BatchUpdateActionResultsRequest.digest_function 3 build.bazel.remote.execution.v2.DigestFunction.Value
BatchUpdateActionResultsRequest.Update.action_digest 1 build.bazel.remote.execution.v2.Digest
BatchUpdateActionResultsRequest.Update.result 2 build.bazel.remote.execution.v2.ActionResult
BatchUpdateActionResultsResponse.statuses 1 repeated google.rpc.Status
ActionCache.BatchFindActions BatchFindActionsRequest BatchFindActionsResponse
ActionCache.BatchUpdateActionResults BatchUpdateActionResultsRequest BatchUpdateActionResultsResponse
`,
}
