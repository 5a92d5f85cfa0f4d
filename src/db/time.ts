import { type Placeholder, type SQL, sql } from './drizzle.ts';

/** A moment on the database's clock, so that replicas whose clocks differ agree on every lease. */
export function fromNow(ms: number | Placeholder): SQL<Date> {
  return sql<Date>`(now() + ${ms}::double precision * interval '1 millisecond')`;
}

/** How long a call to the store whose answer never came may still put an object there. */
export const settleMs = 120_000;
