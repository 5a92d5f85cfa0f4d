import pg from 'pg';

export const yieldChannel = 'partway_yield';

const firstPauseMs = 250;
const longestPauseMs = 10_000;

/**
 * Hears of attempts that are asked to yield, on a connection of its own. Only a hint, which makes hand-overs
 * between replicas quick: while it is away the renewal of each lease tells the same, later.
 */
export class YieldNews {
  readonly #url: string;
  readonly #listeners = new Set<(attemptId: string) => void>();
  #client: pg.Client | undefined;
  #retry: NodeJS.Timeout | undefined;
  #pauseMs = firstPauseMs;
  #stopped = false;

  constructor(url: string) {
    this.#url = url;
  }

  onYield(listener: (attemptId: string) => void): void {
    this.#listeners.add(listener);
  }

  async start(): Promise<void> {
    const client = new pg.Client({
      connectionString: this.#url,
      connectionTimeoutMillis: 5_000,
      keepAlive: true,
      application_name: 'partway-news',
    });
    this.#client = client;
    client.on('notification', ({ payload }) => {
      for (const listener of this.#listeners) listener(payload ?? '');
    });
    client.on('error', () => {});
    client.on('end', () => this.#startAgain(client));
    try {
      await client.connect();
      await client.query(`listen ${yieldChannel}`);
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
    if (this.#stopped || this.#client !== client) return;
    this.#client = undefined;
    this.#retry = setTimeout(() => void this.start(), this.#pauseMs).unref();
    this.#pauseMs = Math.min(this.#pauseMs * 2, longestPauseMs);
  }
}
