import { createHash } from 'node:crypto';
import { mkdir, open, readFile, rename, rm } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { RefusedError, type ResumeRecord, type ResumeStore, UsageError } from '../../sdk/node/index.ts';
import { holdName } from './lock.ts';

/**
 * A file for each upload under way. A hint for the next run; what is stored, the gateway alone knows. Held by one push at a time:
 * call `hold` first.
 */
export class StateFiles implements ResumeStore {
  readonly #folder: string;

  constructor(env: Readonly<Record<string, string | undefined>>) {
    this.#folder = join(env.XDG_STATE_HOME || join(homedir(), '.local/state'), 'partway');
  }

  /** @throws RefusedError `already_running` */
  async hold(fingerprint: string, what: string): Promise<AsyncDisposable> {
    const held = await holdName(nameOf(`${this.#folder}\0${fingerprint}`));
    if (held !== undefined) return held;
    throw new RefusedError(`${what} is being pushed already, by another process`, { code: 'already_running' });
  }

  async get(fingerprint: string): Promise<ResumeRecord | undefined> {
    try {
      return JSON.parse(await readFile(this.#pathOf(fingerprint), 'utf8')) as ResumeRecord;
    } catch (error) {
      // What was cut off while it was written for the first time was never acted on.
      if (error instanceof SyntaxError || isMissing(error)) return undefined;
      throw this.#unusable(error);
    }
  }

  async set(fingerprint: string, record: ResumeRecord): Promise<void> {
    const path = this.#pathOf(fingerprint);
    const draft = `${path}.new`;
    try {
      await mkdir(this.#folder, { recursive: true, mode: 0o700 });
      const file = await open(draft, 'w', 0o600);
      try {
        await file.writeFile(`${JSON.stringify(record)}\n`);
        await file.sync();
      } finally {
        await file.close();
      }
      await rename(draft, path);
    } catch (error) {
      throw this.#unusable(error);
    }
  }

  async delete(fingerprint: string): Promise<void> {
    await rm(this.#pathOf(fingerprint), { force: true });
  }

  #pathOf(fingerprint: string): string {
    return join(this.#folder, `upload-${nameOf(fingerprint)}.json`);
  }

  #unusable(error: unknown): UsageError {
    const why = error instanceof Error ? error.message : String(error);
    return new UsageError(`${this.#folder}: ${why}. XDG_STATE_HOME names another place for what must be remembered`);
  }
}

function nameOf(text: string): string {
  return createHash('sha256').update(text).digest('hex').slice(0, 32);
}

function isMissing(error: unknown): boolean {
  return error instanceof Error && 'code' in error && error.code === 'ENOENT';
}
