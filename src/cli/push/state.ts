import { createHash } from 'node:crypto';
import { mkdir, open, readFile, rename, rm, stat } from 'node:fs/promises';
import { homedir } from 'node:os';
import { dirname, isAbsolute, join } from 'node:path';
import { RefusedError, type ResumeRecord, type ResumeStore, UsageError } from '../../sdk/node/index.ts';
import { holdName } from './lock.ts';

/**
 * A file for each upload under way. A hint for the next run; what is stored, the gateway alone knows. Held by one push at a time:
 * call `hold` first.
 */
export class StateFiles implements ResumeStore {
  readonly #folder: string;

  constructor(env: Readonly<Record<string, string | undefined>>) {
    const given = env.XDG_STATE_HOME ?? '';
    // XDG Base Directory Specification: "All paths set in these environment variables must be absolute. If an
    // implementation encounters a relative path … it should consider the path invalid and ignore it."
    this.#folder = join(isAbsolute(given) ? given : join(homedir(), '.local/state'), 'partway');
  }

  /** @throws RefusedError `already_running` */
  async hold(fingerprint: string, what: string): Promise<AsyncDisposable> {
    const held = await holdName(nameOf(`${this.#folder}\0${fingerprint}`));
    if (held !== undefined) return held;
    throw new RefusedError(`${what} is being pushed already, by another process`, { code: 'already_running' });
  }

  async get(fingerprint: string): Promise<ResumeRecord | undefined> {
    try {
      const record: unknown = JSON.parse(await readFile(this.#pathOf(fingerprint), 'utf8'));
      // What another hand has written there is as if it were not.
      return isRecord(record) ? record : undefined;
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
      await makeFolder(this.#folder);
      const file = await open(draft, 'w', 0o600);
      try {
        await file.writeFile(`${JSON.stringify(record)}\n`);
        await file.sync();
      } finally {
        await file.close();
      }
      await rename(draft, path);
      await syncFolder(this.#folder);
    } catch (error) {
      await rm(draft, { force: true }).catch(() => {});
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

/** A new name is on the disk for sure once its folder is. */
async function syncFolder(path: string): Promise<void> {
  const folder = await open(path, 'r');
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
}

/** Where a folder can't be made though the one above is there (in /proc), Node's own `recursive` tries without end. */
async function makeFolder(path: string): Promise<void> {
  try {
    await mkdir(path, { mode: 0o700 });
  } catch (error) {
    if (await isFolder(path)) return;
    const above = dirname(path);
    if (!isMissing(error) || above === path || (await isFolder(above))) throw error;
    await makeFolder(above);
    await makeFolder(path);
  }
}

async function isFolder(path: string): Promise<boolean> {
  return stat(path).then(
    (found) => found.isDirectory(),
    () => false,
  );
}

function isRecord(value: unknown): value is ResumeRecord {
  if (typeof value !== 'object' || value === null) return false;
  const { server, key, identity, uploadId, idempotencyKey } = value as Record<string, unknown>;
  const isText = (field: unknown) => typeof field === 'string';
  return (
    [server, identity].every(isText) &&
    [key, uploadId].every((field) => field === undefined || isText(field)) &&
    typeof idempotencyKey === 'string' &&
    /^[!-~]{1,255}$/.test(idempotencyKey)
  );
}

function nameOf(text: string): string {
  return createHash('sha256').update(text).digest('hex').slice(0, 32);
}

function isMissing(error: unknown): boolean {
  return error instanceof Error && 'code' in error && error.code === 'ENOENT';
}
