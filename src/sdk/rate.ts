const windowMs = 10_000;
const leastMs = 500;

/** Bytes a second over the last ten seconds. */
export class Rate {
  readonly #samples: { readonly atMs: number; readonly bytes: number }[] = [];

  /** @param bytes so far, never less than before */
  note(bytes: number, atMs: number): void {
    const last = this.#samples.at(-1);
    if (last !== undefined && atMs - last.atMs < windowMs / 100) return;
    this.#samples.push({ atMs, bytes });
    while ((this.#samples[1]?.atMs ?? atMs) < atMs - windowMs) this.#samples.shift();
  }

  perSecond(bytes: number, atMs: number): number | undefined {
    const [first] = this.#samples;
    if (first === undefined || atMs - first.atMs < leastMs) return undefined;
    return ((bytes - first.bytes) * 1000) / (atMs - first.atMs);
  }
}
