import type { Clock } from './ports.ts';
import type { Upload } from './upload.ts';

const mostRemembered = 1000;
/** Another process may end an upload: for so long this one may take it for open. */
const rememberedMs = 1_000;

/** Uploads as this process last saw them, so that one chunk in many needs a look-up. The records have the last word. */
export class RecentUploads {
  readonly #uploads = new Map<string, { readonly upload: Upload; readonly untilMs: number }>();
  readonly #clock: Pick<Clock, 'now'>;

  constructor(clock: Pick<Clock, 'now'>) {
    this.#clock = clock;
  }

  find(name: string): Upload | undefined {
    const known = this.#uploads.get(name);
    return known !== undefined && known.untilMs > this.#clock.now().getTime() ? known.upload : undefined;
  }

  /** As it was just read from the records. Only open uploads are worth it: the others take no bytes. */
  remember(name: string, upload: Upload): void {
    if (upload.state === 'open') this.#set(name, upload);
    else this.forget(name);
  }

  /** The upload that the name still means after nobody has begun another. Once: what is heard of it later says nothing of that. */
  rememberEnd(name: string, upload: Upload): void {
    this.#set(name, upload);
  }

  forget(name: string): void {
    this.#uploads.delete(name);
  }

  #set(name: string, upload: Upload): void {
    this.#uploads.delete(name);
    this.#uploads.set(name, { upload, untilMs: this.#clock.now().getTime() + rememberedMs });
    if (this.#uploads.size <= mostRemembered) return;
    const [oldest] = this.#uploads.keys();
    if (oldest !== undefined) this.#uploads.delete(oldest);
  }
}
