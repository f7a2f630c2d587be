// A test of everything that needs no server: it starts one of its own.
//
//   weir-k6 run loadgen/examples/smoke.js
import { check } from 'k6';
import { Client, Corpus, FakeServer } from 'k6/x/reapi';

const server = new FakeServer({ latency: '1ms' });
const corpus = new Corpus({ seed: 42, sizes: 'buildbuddy-cacheload', dedup: 0.3, compressibility: 4 });
const client = new Client(__ENV.TARGET || server.url);

export const options = {
  vus: 3,
  iterations: 30,
  thresholds: { checks: ['rate==1'], reapi_req_failed: ['rate==0'] },
};

export default async function () {
  const blobs = corpus.take(20);
  await client.upload(await client.findMissingBlobs(blobs));
  const left = await client.findMissingBlobs(blobs);
  const bytes = await client.read(blobs);
  const result = await client.execute({
    argv: ['/bin/sleep', '20ms', '--output=out/x=100'],
    outputs: ['out/x'],
    inputs: corpus.take(3),
    salt: `${__VU}/${__ITER}`,
  });
  check(left, { 'nothing is missing after the upload': (l) => l.count === 0 });
  check(bytes, { 'what is read is what was written': (n) => n === blobs.sizeBytes() });
  check(result, { 'the command ran': (r) => r.exitCode === 0 && !r.cached && r.stages.run >= 20 });
}
