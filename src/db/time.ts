import { type SQL, sql } from 'drizzle-orm';

/** A moment on the database's clock, so that replicas whose clocks differ agree on every lease. */
export function fromNow(ms: number): SQL<Date> {
  return sql<Date>`(now() + ${ms}::double precision * interval '1 millisecond')`;
}
