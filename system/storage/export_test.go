package storage

// For the tests in package storage_test.
var (
	PageToken      = pageToken
	ParsePageToken = parsePageToken
)
