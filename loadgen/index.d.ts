/**
 * Load on any server of the Remote Execution API, from k6.
 *
 * Everything that does I/O returns a promise, and can be called in the functions of
 * virtual users only; constructors belong into the init code. An option that isn't known
 * is an error. Durations are strings such as `"5s"`, or milliseconds; what is returned in
 * time is in milliseconds.
 *
 * Metrics, all with the tags `service`, `method`, `name`, `status` and, where they mean
 * something, `size_class`, `cache` and `phase`; ids of traces are in the samples'
 * metadata, which k6's JSON output keeps:
 *
 * | metric | type | is |
 * |---|---|---|
 * | `reapi_req_duration` | trend, ms | an RPC from its intended start to its end |
 * | `reapi_service_duration` | trend, ms | from its send, where that is another moment |
 * | `reapi_schedule_delay` | trend, ms | the difference: the generator was late |
 * | `grpc_req_duration` | trend, ms | as of k6/net/grpc, for dashboards made for it |
 * | `reapi_reqs`, `reapi_blobs` | counter | RPCs, and the blobs they were about |
 * | `reapi_req_failed` | rate | RPCs whose status is no answer; a miss is one |
 * | `reapi_bytes_sent`, `reapi_bytes_received` | counter, bytes | messages as they go over the wire |
 * | `reapi_cache_hit` | rate | of look-ups |
 * | `reapi_integrity_errors` | counter | what no correct server does, by the tag `kind` |
 * | `reapi_dropped` | counter | due, and not begun: too much was in flight |
 * | `reapi_inflight` | gauge | actions of scenarios under way |
 * | `reapi_exec_duration` | trend, ms | an action, uploads and look-ups included; tags `class`, `outcome` |
 * | `reapi_exec_queue_duration`, `…_fetch_…`, `…_run_…`, `…_upload_…` | trend, ms | its stages, as the server tells them |
 * | `reapi_exec_overhead` | trend, ms | the rest |
 * | `reapi_build_duration` | trend, ms | a build of a scenario |
 * | `reapi_build_slowdown` | trend | against the ideal schedule of its actions |
 */
declare module 'k6/x/reapi' {
  /** A digest: `"hash/size"`, or an object. */
  export type Digest = string | { hash: string; sizeBytes: number };

  /** Milliseconds, or a string such as `"250ms"`. */
  export type Duration = number | string;

  /** Options of each call. */
  export interface Params {
    /** Added to the samples of the call. */
    tags?: Record<string, string>;
    /** Instead of the client's. */
    timeout?: Duration;
  }

  /** What names blobs, as REAPI calls it, or in small letters. */
  export type DigestFunction = DigestFunctionName | Lowercase<DigestFunctionName>;
  type DigestFunctionName = 'SHA256' | 'SHA1' | 'MD5' | 'SHA384' | 'SHA512' | 'BLAKE3';

  export interface ClientOptions {
    /** REAPI instance name. */
    instanceName?: string;
    /**
     * `shared` connections are those of all virtual users with equal options, as one build
     * tool of many users would have; `perVU` has each user be a machine. Default: one that
     * is shared.
     */
    connections?: { mode?: 'shared' | 'perVU'; count?: number };
    /** Of each call; 2 minutes unless given. */
    timeout?: Duration;
    /** How often gRPC repeats a call that failed with UNAVAILABLE, at most 4, which is the default. */
    retries?: number;
    /** Before the first repetition, 100 ms unless given; later ones wait longer. */
    retryDelay?: Duration;
    /** Interval of pings on an idle connection; none unless given. */
    keepalive?: Duration;
    /** File of a bearer token, read again every minute. It is sent over TLS or loopback only. */
    tokenFile?: string;
    /** PEM files: the authority to trust, and certificate and key of this client. */
    serverCert?: string;
    clientCert?: string;
    clientKey?: string;
    /** `zstd` has blobs travel compressed where the target can do it. */
    compression?: 'none' | 'zstd';
    /**
     * What blobs are named by; SHA256 unless given. `capabilities()` tells what a target takes.
     *
     * @example
     * ```ts
     * import { Client, Corpus } from 'k6/x/reapi';
     * const client = new Client('grpc://127.0.0.1:8980', { digestFunction: 'BLAKE3' });
     * export default async function () {
     *   await client.upload(new Corpus({ seed: 1 }).take(10));
     * }
     * ```
     */
    digestFunction?: DigestFunction;
    /** Whether calls carry REAPI's RequestMetadata; an iteration is an invocation. Default: true. */
    requestMetadata?: boolean;
    /** A span for each call, by k6's `--traces-output`, which the target's trace continues. */
    trace?: boolean;
  }

  /**
   * A client of a server.
   *
   * @example
   * ```ts
   * import { Client, Corpus } from 'k6/x/reapi';
   * const client = new Client('grpc://127.0.0.1:8980');
   * const corpus = new Corpus({ seed: 1, sizes: 'buildbuddy-cacheload' });
   * export default async function () {
   *   await client.upload(await client.findMissingBlobs(corpus.take(100)));
   * }
   * ```
   */
  export class Client {
    /** `grpc://HOST:PORT`, `grpcs://HOST:PORT` or `unix:PATH`; without a scheme it is grpc. */
    constructor(target: string, options?: ClientOptions);
    capabilities(params?: Params): Promise<Capabilities>;
    /** Those that the target lacks. */
    findMissingBlobs(blobs: Blobs, params?: Params): Promise<Blobs>;
    findMissingBlobs(digests: Digest | Digest[], params?: Params): Promise<string[]>;
    /** Stores blobs, small ones in batches and large ones by ByteStream; resolves to their bytes. */
    upload(blobs: Blobs, params?: Params): Promise<number>;
    /** Reads blobs likewise, checks their digests, and resolves to their bytes. */
    read(blobs: Blobs | Digest | Digest[], params?: Params): Promise<number>;
    /** The cached result of an action, null if there is none. */
    getActionResult(action: Blobs | Digest, params?: Params): Promise<ActionResult | null>;
    updateActionResult(action: Blobs | Digest, outputs: Blobs | Digest[], params?: Params): Promise<void>;
    /** How many directories are reachable from a root. */
    getTree(root: Digest, params?: Params): Promise<number>;
    /**
     * Uploads what the target lacks of a command, and executes it.
     *
     * @example
     * ```ts
     * const r = await client.execute({ argv: ['/bin/true'], salt: String(Date.now()) });
     * console.log(r.stages.queue, r.stages.run);
     * ```
     */
    execute(command: Command): Promise<Executed>;
    /** Executes an action that is stored already. */
    executeAction(action: Digest, params?: Params & { skipCache?: boolean; priority?: number }): Promise<Executed>;
    /** Closes connections of mode perVU; shared ones stay. */
    close(): void;
  }

  export interface Capabilities {
    apiVersion: string;
    digestFunctions: string[];
    compressors: string[];
    /** 0 is no bound but that of a message. */
    maxBatchTotalSizeBytes: number;
    updateEnabled: boolean;
    execEnabled: boolean;
  }

  export interface ActionResult {
    exitCode: number;
    /** Digests of the output files. */
    outputs: string[];
    worker: string;
  }

  export interface Command extends Params {
    argv: string[];
    env?: Record<string, string>;
    /** What the action asks of a worker. */
    platform?: Record<string, string>;
    /** Paths that the command makes. */
    outputs?: string[];
    /** Files of the input root, `src/f000000` and on. */
    inputs?: Blobs;
    /** Makes an action of its own, by a variable in its environment. */
    salt?: string;
    /** The action's timeout on the server. */
    actionTimeout?: Duration;
    doNotCache?: boolean;
    /** Execute although a result is cached. */
    skipCache?: boolean;
    /** REAPI's: lower runs sooner. */
    priority?: number;
  }

  export interface Executed {
    /** Digest of the action. */
    action: string;
    exitCode: number;
    cached: boolean;
    worker: string;
    /** Digests of the output files. */
    outputs: string[];
    /** All of it. */
    duration: number;
    /** Parts of it, as ExecutedActionMetadata tells them; overhead is the rest. */
    stages: { queue: number; fetch: number; run: number; upload: number; overhead: number };
  }

  /** Names of published or assumed distributions; `weir load` says which are assumed. */
  export type Preset = 'buildbuddy-cacheload' | 'source-file' | 'object-file';

  export interface CorpusOptions {
    /** Everything follows from it. Default: 1. */
    seed?: number;
    /** How many blobs all have in common. Default: 1000. */
    count?: number;
    /** Bytes, a range, or a preset. Default: 1000. */
    sizes?: number | { min: number; max: number } | Preset;
    /** Share of `take` that is of those in common. Default: 0. */
    dedup?: number;
    /** About how many times smaller a compressor makes a blob. Default: 1. */
    compressibility?: number;
  }

  /** Makes blobs from a seed. Their bytes are made in Go when they are sent, and not kept. */
  export class Corpus {
    constructor(options?: CorpusOptions);
    /** So many blobs: new ones, which no other virtual user makes, and a share `dedup` in common. */
    take(n: number): Blobs;
    /** One of those in common. */
    pick(): Blobs;
    /** All in common. */
    all(): Blobs;
  }

  /** A handle of blobs. */
  export interface Blobs {
    readonly count: number;
    sizeBytes(): number;
    /** Hashes them, each as `"hash/size"`. */
    digests(digestFunction?: DigestFunction): string[];
    /** Bytes of the first. */
    arrayBuffer(): ArrayBuffer;
  }

  /** A server in the generator itself, the same for all virtual users: to try scripts. */
  export class FakeServer {
    constructor(options?: { latency?: Duration; slots?: number; seed?: number });
    readonly url: string;
  }

  /** The text of a scenario that comes with the module. */
  export function scenario(name: string): string;

  export interface ScenarioOptions {
    target: string;
    instanceName?: string;
    /** What the result calls it. */
    name?: string;
    /** What blobs are named by, instead of the scenario's `client.digest_function`. */
    digestFunction?: 'auto' | DigestFunction;
    seed?: number;
    duration?: Duration;
    tokenFile?: string;
    serverCert?: string;
    clientCert?: string;
    clientKey?: string;
    /** `none` sends k6 no samples: the result has sketches, whose memory is bounded. Default: samples. */
    metrics?: 'samples' | 'none';
    /** A file that is replaced with the progress twice a second. */
    progress?: string;
    /** Id of the run, by which its traces are found. */
    run?: string;
    /** The target runs on this machine: the result says so. */
    sharesMachine?: boolean;
    notes?: string[];
    environment?: Record<string, string>;
  }

  /**
   * Runs a scenario to its end, all of it in Go. Resolves to the result, whose JSON Schema
   * is `reports/result/result.schema.json`.
   */
  export function runScenario(scenario: string | object, options: ScenarioOptions): Promise<ScenarioResult>;

  export interface ScenarioResult {
    schema: string;
    verdict: { outcome: 'passed' | 'failed' | 'invalid'; reasons?: string[] };
    builds: { count: number; failed: number; dropped: number };
    [key: string]: unknown;
  }

  export interface PaceOptions {
    /** A second. */
    rate: number;
    distribution?: 'poisson' | 'constant';
    duration?: Duration;
    /** Promises that may be open; what is due beyond is dropped and counted. Default: 100. */
    maxInFlight?: number;
    seed?: number;
  }

  /**
   * Calls a function at the moments of an arrival process, whether or not earlier calls
   * have ended. Resolves when all have.
   */
  export function pace(
    options: PaceOptions,
    f: (number: number, lateMilliseconds: number) => void | Promise<unknown>,
  ): Promise<{ ended: number; dropped: number }>;
}
