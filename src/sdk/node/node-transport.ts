import { type ClientRequest, Agent as HttpAgent, type IncomingMessage, request as requestHttp } from 'node:http';
import { Agent as HttpsAgent, request as requestHttps } from 'node:https';
import { isPartwayError, RefusedError } from '../errors.ts';
import { type HttpAnswer, type HttpRequest, LineError, type Transport } from '../transport/transport.ts';

const agents = {
  'http:': new HttpAgent({ keepAlive: true }),
  'https:': new HttpsAgent({ keepAlive: true }),
};

/** By node:http: a body leaves piece by piece, and an answer that comes before its end is heard. */
export const nodeTransport: Transport = async (request) => {
  const { signal } = request;
  signal.throwIfAborted();
  for (let tries = 0; ; tries++) {
    try {
      return await exchange(request);
    } catch (error) {
      signal.throwIfAborted();
      // The other side had closed a connection that was kept: nothing of the request was heard.
      if (!(error instanceof StaleConnection) || tries > 0) throw error;
    }
  }
};

class StaleConnection extends LineError {}

/** So much goes into the buffers of a connection that the other side has closed. */
const unheardBytes = 1024 * 1024;
/** Ten times the longest page of a list. */
const mostAnswerBytes = 16 * 1024 * 1024;

async function exchange(request: HttpRequest): Promise<HttpAnswer> {
  const { method, headers, body, signal, timeoutMs } = request;
  const url = new URL(request.url);
  const isTls = url.protocol === 'https:';
  const outgoing = (isTls ? requestHttps : requestHttp)(url, {
    method,
    agent: isTls ? agents['https:'] : agents['http:'],
    signal,
    headers: { 'User-Agent': 'partway', ...headers, ...(body !== undefined && { 'Content-Length': body.sizeBytes }) },
  });
  outgoing.setTimeout(timeoutMs, () => outgoing.destroy(new LineError('the other side is silent')));
  let hasAnswered = false;
  let sentBytes = 0;
  const answered = new Promise<IncomingMessage>((resolve, reject) => {
    outgoing.once('response', (incoming) => {
      hasAnswered = true;
      resolve(incoming);
    });
    outgoing.on('error', reject);
  });
  answered.catch(() => {});
  try {
    const sent = sendBody(outgoing, {
      ...request,
      onSent: (bytes) => {
        sentBytes += bytes;
        request.onSent?.(bytes);
      },
    });
    sent.catch(() => {});
    await Promise.race([sent, answered]);
    const incoming = await answered;
    const content = await textOf(incoming);
    if (!incoming.complete) throw new LineError('the connection broke within the answer');
    // Who answers before it has read everything leaves the rest on the line.
    if (!outgoing.writableFinished) outgoing.destroy();
    return {
      status: incoming.statusCode ?? 0,
      text: content,
      header: (name) => {
        const value = incoming.headers[name.toLowerCase()];
        return typeof value === 'string' ? value : value?.join(', ');
      },
    };
  } catch (error) {
    outgoing.destroy();
    signal.throwIfAborted();
    throw meaningOf(error, outgoing.reusedSocket && !hasAnswered && sentBytes <= unheardBytes);
  }
}

/** @throws LineError */
async function textOf(incoming: IncomingMessage): Promise<string> {
  const pieces: Buffer[] = [];
  let sizeBytes = 0;
  for await (const piece of incoming as AsyncIterable<Buffer>) {
    pieces.push(piece);
    sizeBytes += piece.length;
    if (sizeBytes > mostAnswerBytes) throw new LineError('the answer does not end');
  }
  return Buffer.concat(pieces).toString('utf8');
}

async function sendBody(outgoing: ClientRequest, { body, onSent }: HttpRequest): Promise<void> {
  const closed = new Promise<void>((resolve) => outgoing.once('close', resolve));
  for await (const piece of body?.pieces() ?? none()) {
    if (outgoing.destroyed) return;
    await Promise.race([new Promise<void>((resolve) => outgoing.write(piece, () => resolve())), closed]);
    onSent?.(piece.length);
  }
  outgoing.end();
}

async function* none(): AsyncGenerator<Uint8Array> {}

const words: Readonly<Record<string, string>> = {
  ECONNREFUSED: 'nothing listens there',
  ECONNRESET: 'the connection broke',
  EPIPE: 'the connection broke',
  ENOTFOUND: 'there is no such host',
  EAI_AGAIN: 'the host cannot be looked up now',
  ETIMEDOUT: 'the other side is silent',
  EPROTO: 'what listens there does not speak TLS (https)',
};

function meaningOf(error: unknown, mayBeStale: boolean): unknown {
  if (!(error instanceof Error) || !('code' in error) || isPartwayError(error)) return error;
  const code = String(error.code);
  if (/CERT|UNABLE_TO|SELF_SIGNED/.test(code)) {
    return new RefusedError(`the certificate is not trusted: ${error.message}`, { code: 'untrusted', cause: error });
  }
  // A host of several addresses: Node sums up what each of them met.
  const isOfLine =
    'syscall' in error ||
    error instanceof AggregateError ||
    /^(ECONNRESET|ERR_STREAM_PREMATURE_CLOSE|HPE_.*|ERR_SSL.*|EPROTO)$/.test(code);
  if (!isOfLine) return error;
  const message = words[code] ?? error.message;
  const isStale = mayBeStale && (code === 'ECONNRESET' || code === 'EPIPE');
  return isStale ? new StaleConnection(message, { cause: error }) : new LineError(message, { cause: error });
}
