import { type HttpAnswer, LineError, type RequestBody, type Transport } from './transport.ts';

/** Below this a line that carries a body counts as silent: fetch tells nothing while it sends. */
const slowestBytesPerMs = 16;

/** For runtimes that have fetch and no XMLHttpRequest. A body that is no Blob is collected: parts are bounded. */
export const fetchTransport: Transport = async (request) => {
  const { method, url, headers, body, signal, timeoutMs, onSent } = request;
  const deadline = AbortSignal.timeout(Math.ceil(timeoutMs + (body?.sizeBytes ?? 0) / slowestBytesPerMs));
  const content = body === undefined ? undefined : await contentOf(body);
  try {
    const response = await fetch(url, {
      method,
      headers,
      ...(content !== undefined && { body: content }),
      signal: AbortSignal.any([signal, deadline]),
      credentials: 'omit',
      cache: 'no-store',
      redirect: 'error',
    });
    const text = await response.text();
    onSent?.(body?.sizeBytes ?? 0);
    return answerOf(response, text);
  } catch (error) {
    signal.throwIfAborted();
    throw new LineError(deadline.aborted ? 'the other side is silent' : messageOf(error), {
      cause: error,
      isBlind: body !== undefined,
    });
  }
};

function answerOf(response: Response, text: string): HttpAnswer {
  return { status: response.status, text, header: (name) => response.headers.get(name) ?? undefined };
}

export async function contentOf(body: RequestBody): Promise<Blob | Uint8Array<ArrayBuffer>> {
  if (body.blob !== undefined) return body.blob;
  const content = new Uint8Array(body.sizeBytes);
  let length = 0;
  for await (const piece of body.pieces()) {
    content.set(piece, length);
    length += piece.length;
  }
  return content;
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
