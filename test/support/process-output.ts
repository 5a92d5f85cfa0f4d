import { EventEmitter } from 'node:events';
import type { Readable } from 'node:stream';

const keptChars = 256 * 1024;

/** What a child process printed, on all of its streams, as far as it is recent. */
export class ProcessOutput {
  text = '';
  readonly #printed = new EventEmitter().setMaxListeners(0);

  constructor(streams: readonly Readable[]) {
    for (const stream of streams) {
      stream.setEncoding('utf8').on('data', (text: string) => {
        this.text = (this.text + text).slice(-keptChars);
        this.#printed.emit('text');
      });
    }
  }

  /** Resolves with the match once the output has it; rejects with what `ended` rejects with. */
  async waitFor(
    pattern: RegExp,
    input: { readonly deadlineMs: number; readonly ended: Promise<never> },
  ): Promise<RegExpMatchArray> {
    const { promise, resolve, reject } = Promise.withResolvers<RegExpMatchArray>();
    const look = () => {
      const match = this.text.match(pattern);
      if (match !== null) resolve(match);
    };
    const timer = setTimeout(() => {
      reject(new Error(`${pattern} was not printed within ${input.deadlineMs} ms:\n${this.text}`));
    }, input.deadlineMs);
    this.#printed.on('text', look);
    look();
    try {
      return await Promise.race([promise, input.ended]);
    } finally {
      clearTimeout(timer);
      this.#printed.off('text', look);
    }
  }
}
