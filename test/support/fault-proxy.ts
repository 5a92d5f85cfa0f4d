import { type AddressInfo, createServer, type Socket } from 'node:net';
import { FaultyConnection } from './faulty-connection.ts';

/** A request as the proxy saw it. The fields of its fate change while it goes on. */
export interface ProxiedRequest {
  readonly method: string;
  /** As on the wire, without the query. */
  readonly path: string;
  readonly query: URLSearchParams;
  readonly headers: ReadonlyMap<string, string>;
  /** Bytes of content that were passed on to the target. */
  readonly requestBytes: number;
  /** What the target answered, or the proxy in its place. */
  readonly status: number | undefined;
  /** Bytes of content that the target answered with. */
  readonly answerBytes: number;
  /** The fault that it met. */
  readonly fault: Fault['kind'] | undefined;
  /** `answered`: the whole answer went to the client. `cut`: one of the two connections ended before. */
  readonly end: 'answered' | 'cut' | undefined;
}

/** Where a fault strikes: before the head of the request or the answer, or after so many bytes of its content. */
export interface Point {
  readonly on: 'request' | 'answer';
  readonly afterBytes?: number;
}

/** What goes wrong. Where `at` is left out it is before the request is forwarded. */
export type Fault =
  /** Both connections are reset (RST). */
  | { readonly kind: 'reset'; readonly at?: Point }
  /** Nothing more passes; the connections stay open. */
  | { readonly kind: 'stall'; readonly at?: Point }
  /**
   * Nothing passes until the rule's `release()`. A client that leaves meanwhile does not take back what it
   * sent: once released it is delivered, as by a slow network.
   */
  | { readonly kind: 'hold'; readonly at?: Point }
  | { readonly kind: 'slow'; readonly bytesPerSecond: number; readonly on?: 'request' | 'answer' }
  /** The proxy answers, with an S3 error where no body is given, and the target never hears of it. */
  | {
      readonly kind: 'answer';
      readonly status: number;
      readonly code?: string;
      readonly body?: string;
      /** Default: application/xml. */
      readonly contentType?: string;
      readonly delayMs?: number;
      /** Reads the request's body first. Default true; else the connection ends after the answer. */
      readonly readBody?: boolean;
    }
  /** The target does its work and answers; the client's connection is reset instead. */
  | { readonly kind: 'dropAnswer' }
  /** An orderly end of the connection (FIN) in the middle of a body. */
  | { readonly kind: 'truncate'; readonly at: Point };

export interface RuleInput {
  readonly match: (request: ProxiedRequest) => boolean;
  /** How many matching requests it strikes; all when left out. */
  readonly times?: number;
  /** How many matching requests pass untouched before. */
  readonly after?: number;
  readonly fault: Fault;
}

export interface Rule {
  /** Resolves with the first request that has come to the point where the fault strikes. */
  readonly reached: Promise<ProxiedRequest>;
  /** Lets what is held go on, now and from now on. */
  release(): void;
  /** Strikes no further request. */
  remove(): void;
}

export interface FaultProxy {
  /** `http://127.0.0.1:port`: what the client takes for its server. */
  readonly url: string;
  /** Every request, in the order of their heads. */
  readonly requests: readonly ProxiedRequest[];
  /** The first of the rules, in the order of their making, that applies to a request strikes it. */
  rule(input: RuleInput): Rule;
  /** The first request, past or future, that matches now or at any change of its fate. */
  waitFor(
    match: (request: ProxiedRequest) => boolean,
    options?: { readonly deadlineMs?: number },
  ): Promise<ProxiedRequest>;
  /** Removes all rules, resets what they hold or stall, and empties the log. */
  clear(): void;
  stop(): Promise<void>;
}

/** One request's fault, as its connection carries it out. */
export interface Strike {
  readonly fault: Fault;
  /** Tells that the point was reached. */
  readonly reach: (request: ProxiedRequest) => void;
  /** Resolves when a held request may go on. */
  readonly released: Promise<void>;
}

class ActiveRule implements Rule, Strike {
  readonly fault: Fault;
  readonly reached: Promise<ProxiedRequest>;
  readonly released: Promise<void>;
  readonly reach: (request: ProxiedRequest) => void;
  readonly release: () => void;
  readonly #input: RuleInput;
  #seen = 0;
  #removed = false;

  constructor(input: RuleInput) {
    const reached = Promise.withResolvers<ProxiedRequest>();
    const released = Promise.withResolvers<void>();
    this.#input = input;
    this.fault = input.fault;
    this.reached = reached.promise;
    this.reach = reached.resolve;
    this.released = released.promise;
    this.release = released.resolve;
  }

  /** Counts the request; true when it is one of those to strike. */
  strikes(request: ProxiedRequest): boolean {
    const { match, after = 0, times = Number.POSITIVE_INFINITY } = this.#input;
    if (this.#removed || !match(request)) return false;
    this.#seen += 1;
    return this.#seen > after && this.#seen <= after + times;
  }

  remove(): void {
    this.#removed = true;
  }
}

/**
 * Stands between a client and its server, on loopback, and does to their requests what its rules say. It works
 * on the bytes as they come: nothing is rewritten, so that signatures over `Host` stay valid (a store that is
 * addressed by path takes any).
 * @param input.target the server's URL; as a function it is asked for each connection, as a restarted one moves
 */
export async function startFaultProxy(input: { readonly target: string | (() => string) }): Promise<FaultProxy> {
  const { target } = input;
  const connections = new Set<FaultyConnection>();
  const watchers = new Set<() => void>();
  let rules: ActiveRule[] = [];
  let requests: ProxiedRequest[] = [];

  function strikeFor(request: ProxiedRequest): Strike | undefined {
    requests.push(request);
    // Each rule counts what it matches, also where another strikes.
    return rules.filter((rule) => rule.strikes(request))[0];
  }

  function onConnection(client: Socket): void {
    const { hostname, port } = new URL(typeof target === 'function' ? target() : target);
    const connection = new FaultyConnection({
      client,
      target: { host: hostname, port: Number(port) },
      strikeFor,
      changed: () => {
        for (const look of watchers) look();
      },
    });
    connections.add(connection);
    void connection.run().finally(() => connections.delete(connection));
  }

  const server = createServer({ allowHalfOpen: true, noDelay: true }, onConnection);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));

  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    get requests() {
      return requests;
    },
    rule(ruleInput) {
      const rule = new ActiveRule(ruleInput);
      rules.push(rule);
      return rule;
    },
    waitFor(match, { deadlineMs = 20_000 } = {}) {
      return new Promise((resolve, reject) => {
        const timer = setTimeout(() => {
          watchers.delete(look);
          reject(new Error(`No such request within ${deadlineMs} ms. Seen:\n${requests.map(line).join('\n')}`));
        }, deadlineMs);
        function look(): void {
          const found = requests.find(match);
          if (found === undefined) return;
          clearTimeout(timer);
          watchers.delete(look);
          resolve(found);
        }
        watchers.add(look);
        look();
      });
    },
    clear() {
      rules = [];
      requests = [];
      for (const connection of connections) connection.resetIfWaiting();
    },
    async stop() {
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      for (const connection of connections) connection.end('close');
      await closed;
    },
  };
}

function line(request: ProxiedRequest): string {
  const { method, path, query, status, requestBytes, answerBytes, fault, end } = request;
  return `${method} ${path}?${query} ${status ?? 'no answer'} ${requestBytes}/${answerBytes} ${fault ?? ''} ${end ?? ''}`;
}
