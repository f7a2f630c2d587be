// Actions at random times, from one virtual user: an open loop, whose times don't depend on
// how fast the answers come.
//
//   weir-k6 run -e TARGET=grpc://127.0.0.1:8980 -e SHELL_COMMANDS=1 loadgen/examples/execute.ts
import { Client, pace } from 'k6/x/reapi';

const client = new Client(__ENV.TARGET || 'grpc://127.0.0.1:8980', { timeout: '1m' });
const shell = __ENV.SHELL_COMMANDS === '1';

export const options = { vus: 1, iterations: 1, thresholds: { reapi_schedule_delay: ['p(99)<10'] } };

export default async function (): Promise<void> {
  const { ended, dropped } = await pace(
    { rate: 20, distribution: 'poisson', duration: '5s', maxInFlight: 200, seed: 3 },
    async (number) => {
      const argv = shell ? ['/bin/sh', '-c', 'sleep 0.1'] : ['/bin/sleep', '100ms'];
      const result = await client.execute({ argv, salt: `${Date.now()} ${number}` });
      if (result.exitCode !== 0) {
        throw new Error(`exit code ${result.exitCode} on ${result.worker}`);
      }
    },
  );
  console.log(`${ended} ended, ${dropped} dropped`);
}
