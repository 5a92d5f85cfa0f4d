import pg from 'pg';
import { drizzle, type NodePgDatabase } from './drizzle.ts';
import { toRecordsError } from './errors.ts';

export type Db = NodePgDatabase;

/** A pool of connections to the records, with bounds on every wait. */
export class Connection {
  readonly pool: pg.Pool;
  readonly #db: Db;

  constructor(options: { readonly url: string; readonly onIdleError: (error: Error) => void }) {
    this.pool = new pg.Pool({
      connectionString: options.url,
      max: 20,
      connectionTimeoutMillis: 5_000,
      idleTimeoutMillis: 60_000,
      statement_timeout: 15_000,
      // A server that no longer answers at all is noticed here, after its own timeout had its chance.
      query_timeout: 20_000,
      idle_in_transaction_session_timeout: 30_000,
      keepAlive: true,
      application_name: 'partway',
    });
    // Without a listener a connection that breaks while idle ends the process.
    this.pool.on('error', options.onIdleError);
    this.#db = drizzle({ client: this.pool });
  }

  /** The one row that a function answers with, by a prepared statement. */
  async call(name: string, text: string, values: readonly unknown[]): Promise<Record<string, unknown>> {
    const [row = {}] = await this.rows(name, text, values);
    return row;
  }

  /** By a statement that each connection prepares once: writing and planning it anew costs more than running it. */
  async rows(name: string, text: string, values: readonly unknown[]): Promise<Record<string, unknown>[]> {
    try {
      const { rows } = await this.pool.query<Record<string, unknown>>({ name, text, values: [...values] });
      return rows;
    } catch (error) {
      throw toRecordsError(error);
    }
  }

  /** One statement or a few independent ones. */
  async run<T>(work: (db: Db) => Promise<T>): Promise<T> {
    try {
      return await work(this.#db);
    } catch (error) {
      throw toRecordsError(error);
    }
  }

  /**
   * One transaction, READ COMMITTED: each statement sees what was committed when it began, so what follows
   * a lock is judged afresh. A failure closes the connection, which rolls back even if the server hangs.
   */
  async transaction<T>(work: (tx: Db) => Promise<T>): Promise<T> {
    let client: pg.PoolClient | undefined;
    try {
      client = await this.pool.connect();
      // The pool listens to idle connections only: without a listener one that breaks here ends the process.
      client.on('error', ignore);
      await client.query('BEGIN');
      const result = await work(drizzle({ client }));
      await client.query('COMMIT');
      client.off('error', ignore);
      client.release();
      return result;
    } catch (error) {
      client?.release(true);
      throw toRecordsError(error);
    }
  }

  async close(): Promise<void> {
    await this.pool.end();
  }
}

/** The statement under way fails with it, or the next one. */
function ignore(): void {}
