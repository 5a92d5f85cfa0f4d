import { Agent } from 'node:http';
import { type Answer, send } from './send.ts';

export interface UploadInput {
  readonly key: string;
  readonly partCount: number;
  readonly partSizeBytes: number;
  /** The digest of the whole, as create takes it. */
  readonly digest?: string;
}

export interface OpenUpload extends UploadInput {
  readonly id: string;
}

/** A client of native REST with so many connections. */
export class RestUploader {
  readonly #url: string;
  readonly #agent: Agent;
  readonly #connections: number;

  constructor(url: string, connections: number) {
    this.#url = url;
    this.#connections = connections;
    this.#agent = new Agent({ keepAlive: true, maxSockets: connections });
  }

  async create(input: UploadInput): Promise<OpenUpload> {
    const { key, partCount, partSizeBytes: partSize, digest } = input;
    const json = { key, size: partCount * partSize, partSize, ...(digest === undefined ? {} : { digest }) };
    const { text } = await this.#send('POST', '/uploads', { json });
    return { ...input, id: (JSON.parse(text) as { id: string }).id };
  }

  async putPart({ id, partSizeBytes }: OpenUpload, partNumber: number): Promise<void> {
    await this.#send('PUT', `/uploads/${id}/parts/${partNumber}`, { sizeBytes: partSizeBytes });
  }

  /** Parts `first` to `last`, as many at a time as there are connections. */
  async putParts(upload: OpenUpload, first = 1, last = upload.partCount): Promise<void> {
    let next = first;
    const work = async () => {
      while (next <= last) await this.putPart(upload, next++);
    };
    await Promise.all(Array.from({ length: this.#connections }, work));
  }

  async complete({ id }: OpenUpload): Promise<void> {
    await this.#send('POST', `/uploads/${id}/complete`);
  }

  async abort({ id }: OpenUpload): Promise<void> {
    await this.#send('DELETE', `/uploads/${id}`);
  }

  async get(path: string): Promise<Answer> {
    return this.#send('GET', path);
  }

  close(): void {
    this.#agent.destroy();
  }

  #send(method: string, path: string, body: { json?: unknown; sizeBytes?: number } = {}): Promise<Answer> {
    return send({ method, url: `${this.#url}${path}`, agent: this.#agent, ...body });
  }
}
