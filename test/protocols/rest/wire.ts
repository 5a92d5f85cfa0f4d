import { Agent, type ClientRequest, type IncomingHttpHeaders, request } from 'node:http';

export interface Answer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly bytes: Buffer;
  readonly text: string;
}

/** A request whose body the test sends as it likes. */
export interface Exchange {
  readonly request: ClientRequest;
  /** Resolves when the server says 100 Continue; rejects when its answer comes first. */
  readonly continued: Promise<void>;
  /** Rejects when the connection ends without an answer. */
  readonly answer: Promise<Answer>;
  /** Hands bytes to the socket; resolves when they have left this process. */
  write(bytes: Buffer): Promise<void>;
}

export interface RequestInput {
  readonly method: string;
  /** As it goes on the wire: nothing is tidied or encoded. */
  readonly path: string;
  readonly headers?: Readonly<Record<string, string | string[]>>;
}

/** One client's connections to one server. */
export class Wire {
  readonly url: string;
  readonly #agent = new Agent({ keepAlive: true });

  constructor(url: string) {
    this.url = url;
  }

  async send(input: RequestInput, body?: Buffer | string): Promise<Answer> {
    const length = body === undefined ? {} : { 'content-length': String(Buffer.byteLength(body)) };
    const exchange = this.#open({ ...input, headers: { ...length, ...input.headers } }, this.#agent);
    exchange.request.end(body);
    return exchange.answer;
  }

  /** On a connection of its own. The head is sent at once. */
  open(input: RequestInput): Exchange {
    const exchange = this.#open(input, undefined);
    exchange.request.flushHeaders();
    return exchange;
  }

  close(): void {
    this.#agent.destroy();
  }

  #open({ method, path, headers = {} }: RequestInput, agent: Agent | undefined): Exchange {
    const { hostname, port } = new URL(this.url);
    const sent = request({ hostname, port, method, path, headers: { ...headers }, agent: agent ?? new Agent() });
    const answer = new Promise<Answer>((resolve, reject) => {
      sent.once('error', reject);
      sent.once('response', (response) => {
        const chunks: Buffer[] = [];
        response.on('data', (chunk: Buffer) => chunks.push(chunk));
        response.once('error', reject);
        response.once('end', () => {
          const bytes = Buffer.concat(chunks);
          resolve({ status: response.statusCode ?? 0, headers: response.headers, bytes, text: bytes.toString() });
        });
      });
    });
    const continued = new Promise<void>((resolve, reject) => {
      sent.once('continue', resolve);
      answer.then(
        ({ status, text }) => reject(new Error(`answered ${status} without 100 Continue: ${text}`)),
        (error: unknown) => reject(error),
      );
    });
    // Not every test looks at both.
    answer.catch(() => undefined);
    continued.catch(() => undefined);
    const write = (bytes: Buffer) =>
      new Promise<void>((resolve, reject) => {
        sent.write(bytes, (error) => (error ? reject(error) : resolve()));
      });
    return { request: sent, continued, answer, write };
  }
}
