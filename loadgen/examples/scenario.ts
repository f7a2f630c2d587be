// A scenario that comes with weir, from a script: what `weir load` does, with k6's own
// outputs and thresholds beside.
//
//   weir-k6 run -e TARGET=grpc://127.0.0.1:8980 --out reapi-report=results.json loadgen/examples/scenario.ts
import exec from 'k6/execution';
import { runScenario, scenario } from 'k6/x/reapi';

const text = scenario(__ENV.SCENARIO || 'smoke');

export const options = { scenarios: { one: { executor: 'shared-iterations', vus: 1, iterations: 1, maxDuration: '1h' } } };

// k6 exits with 0 after an iteration that throws; after this it doesn't.
export default async function (): Promise<void> {
  try {
    const result = await runScenario(text, { target: __ENV.TARGET || 'grpc://127.0.0.1:8980', duration: __ENV.DURATION || '3s' });
    if (result.verdict.outcome !== 'passed') {
      exec.test.abort(`${result.verdict.outcome}: ${(result.verdict.reasons || []).join('; ')}`);
    }
  } catch (error) {
    exec.test.abort(`${error}`);
  }
}
