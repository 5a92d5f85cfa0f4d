import type { ResumeRecord, ResumeStore } from '../../sdk/node/index.ts';

/** Of several files those that are completed stay known until all are: a run after a break does not send them again. */
export class KnownUntilAllAreDone implements ResumeStore {
  readonly #store: ResumeStore;
  readonly #completed = new Set<string>();

  constructor(store: ResumeStore) {
    this.#store = store;
  }

  get(fingerprint: string): Promise<ResumeRecord | undefined> {
    return this.#store.get(fingerprint);
  }

  set(fingerprint: string, record: ResumeRecord): Promise<void> {
    return this.#store.set(fingerprint, record);
  }

  delete(fingerprint: string): Promise<void> {
    return this.#store.delete(fingerprint);
  }

  async complete(fingerprint: string): Promise<void> {
    const record = await this.#store.get(fingerprint);
    if (record === undefined) return;
    await this.#store.set(fingerprint, { ...record, isCompleted: true });
    this.#completed.add(fingerprint);
  }

  async forget(): Promise<void> {
    for (const fingerprint of this.#completed) await this.#store.delete(fingerprint);
  }
}
