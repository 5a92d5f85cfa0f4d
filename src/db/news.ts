import { randomInt } from 'node:crypto';
import pg from 'pg';
import { newId } from '../core/random.ts';
import type { AttemptNews } from '../core/upload-records.ts';
import { type SQL, sql } from './drizzle.ts';

const channel = 'partway_attempts';

/** The first number of every process's lock; `partway_is_dead` in the migrations knows it, too. */
const lockClass = 1348563572;

const firstPauseMs = 250;
const longestPauseMs = 10_000;

const kinds = ['yield', 'checkpoint', 'reached'] as const satisfies readonly AttemptNews['kind'][];

/** Tells all processes, this one among them. @param id an SQL expression where it is not a text */
export function notify(kind: AttemptNews['kind'], id: string | SQL): SQL {
  return sql`pg_notify(${channel}, ${`${kind} `} || ${id})`;
}

/**
 * Hears what attempts and writers are asked and have done, and shows that this process lives, on a connection of its
 * own. Only hints, which make hand-overs between replicas quick: while it is away the renewal of each lease tells the
 * same, later.
 */
export class News {
  readonly #url: string;
  readonly #listeners = new Set<(news: AttemptNews) => void>();
  #client: pg.Client | undefined;
  #retry: NodeJS.Timeout | undefined;
  #pauseMs = firstPauseMs;
  #stopped = false;
  /** Which lock is this process's: 31 random bits, so that two processes hardly share one. */
  readonly #number = randomInt(1, 2 ** 31);
  #holdsLock = false;

  constructor(url: string) {
    this.#url = url;
  }

  onNews(listener: (news: AttemptNews) => void): void {
    this.#listeners.add(listener);
  }

  /** For an attempt, a writer or a claim of this process. One made while nothing shows that it lives says nothing. */
  newLeaseId(): string {
    return (this.#holdsLock ? this.#number : 0).toString(16).padStart(8, '0') + newId().slice(8);
  }

  async start(): Promise<void> {
    const client = new pg.Client({
      connectionString: this.#url,
      connectionTimeoutMillis: 5_000,
      keepAlive: true,
      // A firewall that drops idle connections would make this process look dead.
      keepAliveInitialDelayMillis: 10_000,
      application_name: 'partway-news',
    });
    this.#client = client;
    client.on('notification', ({ payload = '' }) => {
      const [kind = '', id = ''] = payload.split(' ', 2);
      if (isKind(kind)) for (const listener of this.#listeners) listener({ kind, id });
    });
    client.on('error', () => {});
    client.on('end', () => this.#startAgain(client));
    try {
      await client.connect();
      // Shared: the server may not have noticed yet that the connection before this one is gone.
      await client.query('select pg_advisory_lock_shared($1, $2)', [lockClass, this.#number]);
      await client.query(`listen ${channel}`);
      this.#holdsLock = true;
      this.#pauseMs = firstPauseMs;
    } catch {
      this.#startAgain(client);
      // Not waited for: it may be the server that does not answer.
      client.end().catch(() => undefined);
    }
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    clearTimeout(this.#retry);
    await this.#client?.end().catch(() => undefined);
  }

  #startAgain(client: pg.Client): void {
    if (this.#client !== client) return;
    this.#holdsLock = false;
    if (this.#stopped) return;
    this.#client = undefined;
    this.#retry = setTimeout(() => void this.start(), this.#pauseMs).unref();
    this.#pauseMs = Math.min(this.#pauseMs * 2, longestPauseMs);
  }
}

function isKind(text: string): text is AttemptNews['kind'] {
  return kinds.some((kind) => kind === text);
}
