import { Hono } from 'hono';
import type { HttpEnv } from './env.ts';

/** A part of the gateway that must answer for it to be ready. */
export interface Dependency {
  readonly name: string;
  /** Rejects when it does not answer. */
  check(signal: AbortSignal): Promise<void>;
}

const patienceMs = 5_000;

export const healthPaths: ReadonlySet<string> = new Set(['/healthz', '/readyz']);

/** `/healthz`: the process answers. `/readyz`: records and store answer, too. */
export function healthRoutes(dependencies: readonly Dependency[], onFault: (name: string, error: unknown) => void) {
  const app = new Hono<HttpEnv>();
  app.get('/healthz', (c) => c.json({ status: 'ok' }));
  app.get('/readyz', async (c) => {
    const states = await Promise.all(dependencies.map(async (one) => [one.name, await answers(one, onFault)] as const));
    const ready = states.every(([, ok]) => ok);
    const body = Object.fromEntries(states.map(([name, ok]) => [name, ok ? 'ok' : 'unavailable']));
    return c.json({ status: ready ? 'ok' : 'unavailable', ...body }, ready ? 200 : 503);
  });
  return app;
}

async function answers(dependency: Dependency, onFault: (name: string, error: unknown) => void): Promise<boolean> {
  const signal = AbortSignal.timeout(patienceMs);
  try {
    await Promise.race([
      dependency.check(signal),
      new Promise<never>((_, reject) => signal.addEventListener('abort', () => reject(signal.reason), { once: true })),
    ]);
    return true;
  } catch (error) {
    onFault(dependency.name, error);
    return false;
  }
}
