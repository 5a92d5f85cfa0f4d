/** Content that can be sent again from its beginning. */
export interface RequestBody {
  readonly sizeBytes: number;
  /** A piece is no longer used once the next one is asked for. */
  pieces(): AsyncIterable<Uint8Array>;
  /** The same as a Blob, where the source is one: browsers send it without reading it here. */
  readonly blob?: Blob | undefined;
}

export interface HttpRequest {
  readonly method: string;
  readonly url: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body?: RequestBody | undefined;
  readonly signal: AbortSignal;
  /** Nothing passed in either direction for so long: LineError. */
  readonly timeoutMs: number;
  /** Bytes of the body that left, as they do. */
  readonly onSent?: ((bytes: number) => void) | undefined;
}

export interface HttpAnswer {
  readonly status: number;
  header(name: string): string | undefined;
  readonly text: string;
}

/**
 * One request and its whole answer.
 * @throws LineError where there was no whole answer, the signal's reason, and what the body's pieces throw
 */
export type Transport = (request: HttpRequest) => Promise<HttpAnswer>;

/** The line broke, or there was none. */
export class LineError extends Error {
  override readonly name = 'LineError';
  /** How much had been sent can't be told. */
  readonly isBlind: boolean;

  constructor(message: string, options: ErrorOptions & { readonly isBlind?: boolean } = {}) {
    super(message, options);
    this.isBlind = options.isBlind ?? false;
  }
}
