import { randomBytes } from 'node:crypto';
import { Agent } from 'node:http';
import { send } from './send.ts';

/** A client that knows nothing but a name: chunks in sequence on one connection, each with its range. */
export class ContentRangeUploader {
  readonly #url: string;
  readonly #agent = new Agent({ keepAlive: true, maxSockets: 1 });

  constructor(url: string) {
    this.#url = url;
  }

  async upload({ sizeBytes, chunkBytes }: { readonly sizeBytes: number; readonly chunkBytes: number }): Promise<void> {
    const url = `${this.#url}/objects/chunks-${randomBytes(8).toString('hex')}`;
    for (let offset = 0; offset < sizeBytes; offset += chunkBytes) {
      const length = Math.min(chunkBytes, sizeBytes - offset);
      await send({
        method: 'POST',
        url,
        agent: this.#agent,
        headers: { 'Content-Range': `bytes ${offset}-${offset + length - 1}/${sizeBytes}` },
        sizeBytes: length,
      });
    }
  }

  /** The whole in one request. */
  async put(sizeBytes: number): Promise<void> {
    const url = `${this.#url}/objects/whole-${randomBytes(8).toString('hex')}`;
    await send({ method: 'PUT', url, agent: this.#agent, sizeBytes });
  }

  close(): void {
    this.#agent.destroy();
  }
}
