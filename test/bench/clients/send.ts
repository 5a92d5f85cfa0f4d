import { randomBytes } from 'node:crypto';
import { type Agent, type ClientRequest, type IncomingHttpHeaders, request } from 'node:http';
import { text } from 'node:stream/consumers';

const source = randomBytes(1024 * 1024);

export interface Sending {
  readonly method: string;
  readonly url: string;
  readonly agent: Agent;
  readonly headers?: Readonly<Record<string, string | number>>;
  readonly json?: unknown;
  /** Length of a body of no particular bytes. */
  readonly sizeBytes?: number;
}

export interface Answer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly text: string;
}

/** Sends a request as fast as the server takes it. Any answer but a 2xx is an error. */
export async function send(sending: Sending): Promise<Answer> {
  const { method, url, json, sizeBytes } = sending;
  const sent = open(sending);
  const answer = answerTo(sent);
  // Its failure is the one that is thrown, also where the body meets it first.
  answer.catch(() => undefined);
  if (json !== undefined) sent.end(JSON.stringify(json));
  else if (sizeBytes !== undefined) await Promise.race([writeBody(sent, sizeBytes), answer]);
  else sent.end();
  const received = await answer;
  if (received.status >= 200 && received.status < 300) return received;
  throw new Error(`${method} ${url} was answered ${received.status}: ${received.text}`);
}

export function open({ method, url, agent, headers = {}, json, sizeBytes }: Sending): ClientRequest {
  return request(url, {
    method,
    agent,
    headers: {
      ...(json === undefined ? {} : { 'Content-Type': 'application/json' }),
      ...(sizeBytes === undefined ? {} : { 'Content-Length': sizeBytes }),
      ...headers,
    },
  });
}

/** Bytes of no particular content, at most 1 MiB at a time. */
export function someBytes(sizeBytes: number): Buffer {
  return source.subarray(0, sizeBytes);
}

async function writeBody(sent: ClientRequest, sizeBytes: number): Promise<void> {
  for (let leftBytes = sizeBytes; leftBytes > 0; leftBytes -= source.length) {
    if (!sent.write(someBytes(leftBytes))) await new Promise((resolve) => sent.once('drain', resolve));
  }
  sent.end();
}

function answerTo(sent: ClientRequest): Promise<Answer> {
  return new Promise((resolve, reject) => {
    sent.once('error', reject);
    sent.once('response', (response) => {
      const { statusCode = 0, headers } = response;
      text(response).then((body) => resolve({ status: statusCode, headers, text: body }), reject);
    });
  });
}
