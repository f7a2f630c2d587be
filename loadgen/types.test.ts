// What the types must refuse: the compiler fails if one of these lines is no error.
import { Client, Corpus, pace, runScenario } from 'k6/x/reapi';

// @ts-expect-error: the option is instanceName
new Client('grpc://127.0.0.1:8980', { instance: 'main' });
new Client('grpc://127.0.0.1:8980', { digestFunction: 'blake3' });
// @ts-expect-error: no such digest function
new Client('grpc://127.0.0.1:8980', { digestFunction: 'VSO' });
// @ts-expect-error: auto is for scenarios, where the target is asked first
new Client('grpc://127.0.0.1:8980', { digestFunction: 'auto' });
runScenario('version: 1', { target: 'grpc://127.0.0.1:8980', digestFunction: 'auto' });
// @ts-expect-error: no such preset
new Corpus({ sizes: 'huge' });
// @ts-expect-error: a command needs argv
new Client('grpc://127.0.0.1:8980').execute({});
// @ts-expect-error: upload wants a handle, since the bytes are made in Go
new Client('grpc://127.0.0.1:8980').upload(['0'.repeat(64) + '/1']);
// @ts-expect-error: a scenario needs a target
runScenario('version: 1', {});
// @ts-expect-error: a process needs a rate
pace({}, () => {});
