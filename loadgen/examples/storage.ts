// The calls of a storage, at a constant rate of k6's own: with thresholds for CI.
//
//   weir-k6 run -e TARGET=grpc://127.0.0.1:8980 loadgen/examples/storage.ts
import { Client, Corpus } from 'k6/x/reapi';

const corpus = new Corpus({ seed: 7, count: 2000, sizes: 'buildbuddy-cacheload', dedup: 0.8 });
const client = new Client(__ENV.TARGET || 'grpc://127.0.0.1:8980', { connections: { mode: 'shared', count: 2 } });

export const options = {
  scenarios: {
    lookups: { executor: 'constant-arrival-rate', rate: 50, timeUnit: '1s', duration: '10s', preAllocatedVUs: 20, exec: 'lookups' },
    uploads: { executor: 'constant-arrival-rate', rate: 5, timeUnit: '1s', duration: '10s', preAllocatedVUs: 20, exec: 'uploads' },
  },
  thresholds: {
    'reapi_req_duration{method:FindMissingBlobs}': ['p(99)<200'],
    reapi_req_failed: ['rate<0.001'],
    dropped_iterations: ['count==0'],
  },
};

export async function lookups(): Promise<void> {
  await client.findMissingBlobs(corpus.take(100), { tags: { phase: 'lookup' } });
}

export async function uploads(): Promise<void> {
  const missing = await client.findMissingBlobs(corpus.take(20));
  await client.upload(missing);
  await client.read(missing);
}
