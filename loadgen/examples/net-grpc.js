// The same calls by k6's own gRPC client (CLIENT=grpc) and by ours, to compare what they
// cost. PROTOSET is a file of REAPI's descriptors, as protoc --descriptor_set_out
// --include_imports writes it. k6's client has a connection for each virtual user, and so
// has ours here; CONNECTIONS=shared gives it one for all.
//
//   weir-k6 run -e TARGET=127.0.0.1:8980 -e PROTOSET=reapi.protoset -e CLIENT=grpc -e CALL=find loadgen/examples/net-grpc.js
import encoding from 'k6/encoding';
import grpc from 'k6/net/grpc';
import { Client, Corpus } from 'k6/x/reapi';

const builtin = __ENV.CLIENT === 'grpc';
const call = __ENV.CALL || 'find';
const target = __ENV.TARGET || '127.0.0.1:8980';
const service = 'build.bazel.remote.execution.v2';

const small = new Corpus({ seed: 1, count: 100, sizes: 1000 }).all();
const large = new Corpus({ seed: 2, count: 1, sizes: 1 << 20 }).all();
const object = (digest) => ({ hash: digest.split('/')[0], sizeBytes: digest.split('/')[1] });

const ours = new Client(`grpc://${target}`, { connections: { mode: __ENV.CONNECTIONS || 'perVU' }, requestMetadata: false, retries: 0 });
const theirs = new grpc.Client();
const requests = {};
if (builtin) {
  theirs.loadProtoset(__ENV.PROTOSET);
  const digest = object(large.digests()[0]);
  requests.find = { blobDigests: small.digests().map(object) };
  requests.read = { digests: [digest] };
  requests.update = { requests: [{ digest, data: encoding.b64encode(large.arrayBuffer()) }] };
  requests.execute = { actionDigest: object(__ENV.ACTION || `${'0'.repeat(64)}/1`) };
}
const methods = { find: 'FindMissingBlobs', read: 'BatchReadBlobs', update: 'BatchUpdateBlobs' };

export const options = { vus: Number(__ENV.VUS || 8), duration: __ENV.DURATION || '5s' };

let connected = false;

function stream() {
  return new Promise((resolve, reject) => {
    const s = new grpc.Stream(theirs, `${service}.Execution/Execute`);
    s.on('data', () => {});
    s.on('end', resolve);
    s.on('error', (e) => reject(new Error(e.message)));
    s.write(requests.execute);
    s.end();
  });
}

async function byTheirs() {
  if (!connected) {
    theirs.connect(target, { plaintext: true, maxReceiveSize: 8 << 20, maxSendSize: 8 << 20 });
    connected = true;
  }
  if (call === 'execute') {
    return await stream();
  }
  const response = theirs.invoke(`${service}.ContentAddressableStorage/${methods[call]}`, requests[call]);
  if (response.status !== grpc.StatusOK) {
    throw new Error(`${call}: ${response.status}`);
  }
}

async function byOurs() {
  switch (call) {
    case 'find':
      return await ours.findMissingBlobs(small);
    case 'read':
      return await ours.read(large);
    case 'update':
      return await ours.upload(large);
    default:
      return await ours.executeAction(__ENV.ACTION);
  }
}

export default builtin ? byTheirs : byOurs;

export function handleSummary(data) {
  return { stdout: `${data.metrics.iterations ? data.metrics.iterations.values.count : 0} iterations\n` };
}
