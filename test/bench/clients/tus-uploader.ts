import { Agent } from 'node:http';
import { send } from './send.ts';

const version = { 'Tus-Resumable': '1.0.0' };

/** A tus 1.0 client with one connection. */
export class TusUploader {
  readonly #url: string;
  readonly #agent = new Agent({ keepAlive: true, maxSockets: 1 });

  constructor(url: string) {
    this.#url = url;
  }

  /** @param input.chunkBytes one PATCH carries so many */
  async upload({ sizeBytes, chunkBytes }: { readonly sizeBytes: number; readonly chunkBytes: number }): Promise<void> {
    const created = await send({
      method: 'POST',
      url: `${this.#url}/files`,
      agent: this.#agent,
      headers: { ...version, 'Upload-Length': sizeBytes },
    });
    const location = new URL(created.headers.location ?? '', this.#url).href;
    for (let offset = 0; offset < sizeBytes; offset += chunkBytes) {
      await send({
        method: 'PATCH',
        url: location,
        agent: this.#agent,
        headers: { ...version, 'Upload-Offset': offset, 'Content-Type': 'application/offset+octet-stream' },
        sizeBytes: Math.min(chunkBytes, sizeBytes - offset),
      });
    }
  }

  close(): void {
    this.#agent.destroy();
  }
}
