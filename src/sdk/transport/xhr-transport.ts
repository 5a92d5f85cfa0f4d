import { contentOf } from './fetch-transport.ts';
import { LineError, type Transport } from './transport.ts';

/** What is used of XMLHttpRequest (XHR Standard, section 3); there is none in Node, where this compiles, too. */
interface Xhr {
  readonly status: number;
  readonly responseText: string;
  readonly upload: { onprogress: ((event: { readonly loaded: number }) => void) | null };
  onload: (() => void) | null;
  onerror: (() => void) | null;
  onabort: (() => void) | null;
  onprogress: (() => void) | null;
  open(method: string, url: string): void;
  setRequestHeader(name: string, value: string): void;
  getResponseHeader(name: string): string | null;
  send(body?: unknown): void;
  abort(): void;
}

declare const XMLHttpRequest: new () => Xhr;

/** Content-Length is the browser's to say. */
const forbidden = new Set(['content-length', 'user-agent']);

/** For browsers and workers: the one way by which they tell how much of a body has left. */
export const xhrTransport: Transport = async (request) => {
  const { method, url, headers, body, signal, timeoutMs, onSent } = request;
  const content = body === undefined ? undefined : await contentOf(body);
  signal.throwIfAborted();
  const xhr = new XMLHttpRequest();
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  let silence: ReturnType<typeof setTimeout> | undefined;
  const alive = () => {
    clearTimeout(silence);
    silence = setTimeout(() => {
      reject(new LineError('the other side is silent'));
      xhr.abort();
    }, timeoutMs);
  };
  const stop = () => xhr.abort();
  let sentBytes = 0;
  xhr.upload.onprogress = ({ loaded }) => {
    alive();
    onSent?.(loaded - sentBytes);
    sentBytes = loaded;
  };
  xhr.onprogress = alive;
  xhr.onload = () => resolve();
  xhr.onerror = () => reject(new LineError('the connection broke, or the browser may not use it (CORS)'));
  xhr.onabort = () => reject(signal.reason ?? new LineError('the connection was ended'));
  signal.addEventListener('abort', stop, { once: true });
  try {
    xhr.open(method, url);
    for (const [name, value] of Object.entries(headers)) {
      if (!forbidden.has(name.toLowerCase())) xhr.setRequestHeader(name, value);
    }
    alive();
    xhr.send(content);
    await promise;
    return { status: xhr.status, text: xhr.responseText, header: (name) => xhr.getResponseHeader(name) ?? undefined };
  } finally {
    clearTimeout(silence);
    signal.removeEventListener('abort', stop);
  }
};
