/**
 * The gateway, but with short leases, and where it is told to it kills itself with SIGKILL at one step of its work, as a
 * power cut would:
 *
 *   PARTWAY_TEST_KILL_AT=store.uploadPart:after:2    when the store has answered the second uploadPart
 *   PARTWAY_TEST_KILL_AT=records.commitPart:before   at the first commitPart, before the database hears of it
 */
import { readSettings } from '../../src/config.ts';
import { startGateway } from '../../src/gateway.ts';

const { PARTWAY_TEST_KILL_AT: killAt, PARTWAY_TEST_LEASE_MS: leaseMs = '2000' } = process.env;
const step = killAt === undefined ? undefined : parseStep(killAt);
let calls = 0;

function parseStep(text: string) {
  const [, port, method, moment, count = '1'] = /^(store|records)\.(\w+):(before|after)(?::(\d+))?$/.exec(text) ?? [];
  if (port === undefined || method === undefined) throw new Error(`PARTWAY_TEST_KILL_AT=${text} names no step`);
  return { port, method, moment, count: Number(count) };
}

function killing<T extends object>(port: T, name: string): T {
  if (name !== step?.port) return port;
  if (!(step.method in port)) throw new Error(`PARTWAY_TEST_KILL_AT: ${name} has no ${step.method}`);
  return new Proxy(port, {
    get(target, property) {
      const value: unknown = Reflect.get(target, property, target);
      if (typeof value !== 'function') return value;
      if (property !== step.method) return value.bind(target);
      return (...args: unknown[]) => killAround(step, () => value.apply(target, args));
    },
  });
}

/** Only methods that return a promise: those that return an iterable have no one moment after them. */
async function killAround(at: { count: number; moment?: string | undefined }, call: () => Promise<unknown>) {
  calls += 1;
  const struck = calls === at.count;
  if (struck && at.moment === 'before') process.kill(process.pid, 'SIGKILL');
  const result = await call();
  if (struck) process.kill(process.pid, 'SIGKILL');
  return result;
}

const gateway = await startGateway(readSettings(process.env), {
  wrapStore: (store) => killing(store, 'store'),
  wrapRecords: (records) => killing(records, 'records'),
  // What it leaves behind runs out soon.
  coreSettings: { leaseMs: Number(leaseMs) },
});
process.once('SIGTERM', () => void gateway.stop().then(() => process.exit(0)));
console.log(`partway is listening on ${gateway.url}`);
