import { connect, type Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Fault, Point, ProxiedRequest, Strike } from './fault-proxy.ts';
import {
  answerFraming,
  type BodyFraming,
  EndedEarly,
  type Head,
  requestFraming,
  SocketReader,
  statusOf,
} from './http-stream.ts';

type Mutable<T> = { -readonly [K in keyof T]: T[K] };
type AnswerFault = Extract<Fault, { kind: 'answer' }>;

/** One request and its answer. */
interface Exchange {
  readonly request: Mutable<ProxiedRequest>;
  readonly strike: Strike | undefined;
  readonly ended: PromiseWithResolvers<void>;
}

/** The connections are over: nothing is left to do. */
class Over extends Error {
  override readonly name = 'Over';
}

const paceMs = 20;

/**
 * A client's connection and the one to the target that belongs to it. Requests and answers pass side by side,
 * so that an answer can overtake its request's body; a second request waits for the end of the first.
 */
export class FaultyConnection {
  readonly #client: Socket;
  readonly #target: { readonly host: string; readonly port: number };
  readonly #strikeFor: (request: ProxiedRequest) => Strike | undefined;
  readonly #changed: () => void;
  readonly #over = Promise.withResolvers<never>();
  #upstream: Socket | undefined;
  #answers: Promise<void> = Promise.resolve();
  #exchange: Exchange | undefined;
  #waiting = false;
  /** The request was held: it is delivered even when its client has left. */
  #delivering = false;

  constructor(input: {
    readonly client: Socket;
    readonly target: { readonly host: string; readonly port: number };
    readonly strikeFor: (request: ProxiedRequest) => Strike | undefined;
    readonly changed: () => void;
  }) {
    this.#client = input.client;
    this.#target = input.target;
    this.#strikeFor = input.strikeFor;
    this.#changed = input.changed;
    this.#over.promise.catch(() => undefined);
  }

  /** Resolves once nothing passes any more. */
  async run(): Promise<void> {
    this.#client.on('error', () => this.#clientLeft('reset'));
    this.#client.on('close', () => this.#clientLeft('close'));
    try {
      await this.#passRequests(new SocketReader(this.#client));
      await this.#answers;
    } catch {
      this.end('close');
    }
    this.#endExchange('cut');
  }

  end(how: 'close' | 'reset'): void {
    for (const socket of [this.#client, this.#upstream]) {
      if (how === 'reset') socket?.resetAndDestroy();
      else socket?.destroy();
    }
    this.#over.reject(new Over());
  }

  #clientLeft(how: 'close' | 'reset'): void {
    if (!this.#delivering) this.end(how);
  }

  resetIfWaiting(): void {
    if (this.#waiting) this.end('reset');
  }

  async #passRequests(reader: SocketReader): Promise<void> {
    for (;;) {
      const head = await reader.head();
      const earlier = this.#exchange;
      if (head === undefined) {
        if (this.#delivering) await earlier?.ended.promise;
        (this.#upstream ?? this.#client).end();
        return;
      }
      await earlier?.ended.promise;
      const exchange = this.#begin(head);
      const { request, strike } = exchange;
      const body = requestFraming(head);
      if (strike?.fault.kind === 'answer') {
        await this.#answerInstead(strike.fault, { exchange, head, reader, body });
        continue;
      }
      await this.#meet(exchange, 'request');
      const upstream = this.#connectedUpstream();
      await write(upstream, head.raw);
      await this.#passBody({
        exchange,
        on: 'request',
        reader,
        body,
        send: (bytes) => write(upstream, bytes),
        count: (bytes) => {
          request.requestBytes += bytes;
        },
      });
    }
  }

  async #passAnswers(reader: SocketReader): Promise<void> {
    for (;;) {
      const head = await reader.head();
      const exchange = this.#exchange;
      if (head === undefined || exchange === undefined) {
        this.#client.end();
        return;
      }
      if (statusOf(head) < 200) await this.#sendToClient(head.raw);
      else await this.#passAnswer(exchange, head, reader);
    }
  }

  async #passAnswer(exchange: Exchange, head: Head, reader: SocketReader): Promise<void> {
    const { request, strike } = exchange;
    request.status = statusOf(head);
    this.#changed();
    await this.#meet(exchange, 'answer');
    const dropped = strike?.fault.kind === 'dropAnswer';
    const send = dropped ? nowhere : (bytes: Buffer) => this.#sendToClient(bytes);
    await send(head.raw);
    await this.#passBody({
      exchange,
      on: 'answer',
      reader,
      body: answerFraming(head, request.method),
      send,
      count: (bytes) => {
        request.answerBytes += bytes;
      },
    });
    if (dropped) {
      this.#client.resetAndDestroy();
      strike.reach(request);
    }
    this.#delivering = false;
    this.#endExchange(this.#client.destroyed ? 'cut' : 'answered');
    if (this.#client.destroyed) throw new Over();
  }

  #begin(head: Head): Exchange {
    const [method = '', target = ''] = head.startLine.split(' ');
    const [path = '', query = ''] = target.split(/\?(.*)/s);
    const request: Mutable<ProxiedRequest> = {
      method,
      path,
      query: new URLSearchParams(query),
      headers: head.headers,
      requestBytes: 0,
      status: undefined,
      answerBytes: 0,
      fault: undefined,
      end: undefined,
    };
    const strike = this.#strikeFor(request);
    request.fault = strike?.fault.kind;
    this.#exchange = { request, strike, ended: Promise.withResolvers<void>() };
    this.#changed();
    return this.#exchange;
  }

  #endExchange(end: 'answered' | 'cut'): void {
    const exchange = this.#exchange;
    if (exchange === undefined) return;
    this.#exchange = undefined;
    exchange.request.end = end;
    exchange.ended.resolve();
    this.#changed();
  }

  #connectedUpstream(): Socket {
    if (this.#upstream !== undefined) return this.#upstream;
    const upstream = connect({ ...this.#target, allowHalfOpen: true, noDelay: true });
    upstream.on('error', () => this.end('reset'));
    this.#upstream = upstream;
    this.#answers = this.#passAnswers(new SocketReader(upstream));
    this.#answers.catch(() => this.end('close'));
    return upstream;
  }

  async #sendToClient(bytes: Buffer): Promise<void> {
    if (this.#delivering && this.#client.destroyed) return;
    await write(this.#client, bytes).catch((error: unknown) => {
      if (!this.#delivering) throw error;
    });
  }

  /** Lets a fault strike that stands before this head. */
  async #meet(exchange: Exchange, on: Point['on']): Promise<void> {
    if (exchange.strike === undefined) return;
    const point = pointOf(exchange.strike.fault);
    if (point?.on === on && point.afterBytes === undefined) await this.#strike(exchange, exchange.strike);
  }

  async #strike({ request }: Exchange, { fault, reach, released }: Strike): Promise<void> {
    this.#waiting = fault.kind === 'hold' || fault.kind === 'stall';
    this.#delivering = fault.kind === 'hold';
    reach(request);
    if (fault.kind === 'truncate' && fault.at.on === 'request') {
      this.#upstream?.end();
      return;
    }
    if (fault.kind === 'truncate') this.#client.end(() => this.end('close'));
    if (fault.kind === 'reset') this.end('reset');
    await (fault.kind === 'hold' ? Promise.race([released, this.#over.promise]) : this.#over.promise);
    this.#waiting = false;
  }

  async #passBody(input: {
    readonly exchange: Exchange;
    readonly on: Point['on'];
    readonly reader: SocketReader;
    readonly body: BodyFraming;
    readonly send: (bytes: Buffer) => Promise<void>;
    readonly count: (contentBytes: number) => void;
  }): Promise<void> {
    const { exchange, on, reader, body, count } = input;
    const { strike, request } = exchange;
    const point = strike === undefined ? undefined : pointOf(strike.fault);
    const bytesPerSecond = strike === undefined ? undefined : paceOf(strike.fault, on);
    let { send } = input;
    let toStrikeBytes = point?.on === on ? (point.afterBytes ?? Number.POSITIVE_INFINITY) : Number.POSITIVE_INFINITY;
    if (bytesPerSecond !== undefined) strike?.reach(request);

    for (;;) {
      if (toStrikeBytes === 0 && strike !== undefined) {
        toStrikeBytes = Number.POSITIVE_INFINITY;
        await this.#strike(exchange, strike);
        // The rest of a truncated request's body goes nowhere.
        if (strike.fault.kind === 'truncate') send = nowhere;
      }
      if (body.done) return;
      const chunk = await reader.next();
      if (chunk === undefined) {
        if (body.lastsUntilEnd) return;
        throw new EndedEarly('within a body');
      }
      const sliceBytes = bytesPerSecond === undefined ? chunk.length : Math.ceil((bytesPerSecond * paceMs) / 1000);
      const taken = body.take(chunk.subarray(0, sliceBytes), toStrikeBytes);
      if (taken.wireBytes < chunk.length) reader.unread(chunk.subarray(taken.wireBytes));
      await send(chunk.subarray(0, taken.wireBytes));
      toStrikeBytes -= taken.contentBytes;
      count(taken.contentBytes);
      this.#changed();
      if (bytesPerSecond !== undefined) await sleep((taken.wireBytes / bytesPerSecond) * 1000);
    }
  }

  async #answerInstead(
    fault: AnswerFault,
    input: {
      readonly exchange: Exchange;
      readonly head: Head;
      readonly reader: SocketReader;
      readonly body: BodyFraming;
    },
  ): Promise<void> {
    const { exchange, head, reader, body } = input;
    const { request, strike } = exchange;
    const { readBody = true, delayMs = 0 } = fault;
    if (readBody) {
      if (head.headers.has('expect')) await write(this.#client, Buffer.from('HTTP/1.1 100 Continue\r\n\r\n'));
      await this.#passBody({ exchange, on: 'request', reader, body, send: nowhere, count: () => undefined });
    }
    strike?.reach(request);
    if (delayMs > 0) await Promise.race([sleep(delayMs), this.#over.promise]);
    await write(this.#client, answerOf(fault, request, readBody));
    request.status = fault.status;
    this.#endExchange('answered');
    if (readBody) return;
    this.#client.end();
    await this.#over.promise;
  }
}

async function nowhere(): Promise<void> {}

function pointOf(fault: Fault): Point | undefined {
  if (fault.kind === 'truncate') return { afterBytes: 0, ...fault.at };
  if (fault.kind === 'reset' || fault.kind === 'stall' || fault.kind === 'hold') return fault.at ?? { on: 'request' };
  return undefined;
}

function paceOf(fault: Fault, on: Point['on']): number | undefined {
  return fault.kind === 'slow' && (fault.on ?? 'request') === on ? fault.bytesPerSecond : undefined;
}

/** https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html */
function answerOf(fault: AnswerFault, request: ProxiedRequest, keepAlive: boolean): Buffer {
  const { status, code = status === 503 ? 'SlowDown' : 'InternalError' } = fault;
  const body =
    fault.body ??
    '<?xml version="1.0" encoding="UTF-8"?>\n' +
      `<Error><Code>${code}</Code><Message>Answered by a test.</Message><RequestId>test</RequestId></Error>`;
  const head = [
    `HTTP/1.1 ${status} ${code}`,
    `Content-Type: ${fault.contentType ?? 'application/xml'}`,
    `Content-Length: ${Buffer.byteLength(body)}`,
    `Connection: ${keepAlive ? 'keep-alive' : 'close'}`,
  ];
  return Buffer.from(`${head.join('\r\n')}\r\n\r\n${request.method === 'HEAD' ? '' : body}`);
}

/** Resolves once the kernel has the bytes, so that counts and back-pressure are true. */
function write(socket: Socket, bytes: Buffer): Promise<void> {
  return new Promise((resolve, reject) => {
    socket.write(bytes, (error) => (error ? reject(error) : resolve()));
  });
}
