// The script that `weir load` gives to weir-k6: one virtual user, which runs the scenario.
// Run it again by: weir-k6 run --env WEIR_OPTIONS='{"target": "grpc://127.0.0.1:8980"}' load.js
import exec from 'k6/execution';
import { runScenario } from 'k6/x/reapi';

const text = open('scenario.yaml');

export const options = {
  scenarios: {
    weir: { executor: 'shared-iterations', vus: 1, iterations: 1, maxDuration: '240h', gracefulStop: '30s' },
  },
};

export default async function () {
  try {
    await runScenario(text, JSON.parse(__ENV.WEIR_OPTIONS));
  } catch (e) {
    // An exception alone would only end the iteration.
    exec.test.abort(e.message || String(e));
  }
}
